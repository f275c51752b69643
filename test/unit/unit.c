/*
 * unit.c
 *	  Unit and property tests of the pure core.
 *
 *	  unit CASES SEED: prints TAP.  A case that breaks a law is printed with
 *	  its seed, by which it can be made again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "httpdate.h"
#include "json.h"
#include "jsonspan.h"
#include "jspath.h"
#include "mail.h"
#include "merge.h"
#include "plan.h"

static char arena[1 << 20];
static size_t used;
static int	tests;
static int	failures;
static unsigned long long state;

static void *
allocate(void *ctx, size_t size)
{
	void	   *result = arena + used;

	(void) ctx;
	used += (size + 15) & ~(size_t) 15;
	if (used > sizeof(arena))
	{
		printf("Bail out! arena is full\n");
		exit(1);
	}
	return result;
}

static const JsAllocator allocator = {allocate, NULL};

static void
ok(bool condition, const char *what)
{
	printf("%s %d - %s\n", condition ? "ok" : "not ok", ++tests, what);
	if (!condition)
		failures++;
	used = 0;
}

/* xorshift64*: small, and the same everywhere */
static unsigned
rnd(unsigned n)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (unsigned) ((state * 2685821657736338717ULL) >> 33) % n;
}

static JsJson *
parse(const char *text)
{
	JsJson	   *root;
	JsJsonError error;

	if (!js_json_parse(text, strlen(text), &js_json_default_limits,
					   &allocator, &root, &error))
	{
		printf("# %s at %zu: %s\n", error.message, error.offset, text);
		return NULL;
	}
	return root;
}

static char *
text_of(const JsJson *json)
{
	JsBuffer	buffer;

	js_buffer_init(&buffer, &allocator);
	js_json_write(json, &buffer);
	return buffer.data;
}

static bool
refused(const char *text)
{
	JsJson	   *root;
	JsJsonError error;

	return !js_json_parse(text, strlen(text), &js_json_default_limits,
						  &allocator, &root, &error);
}

static bool
bad(const char *text)
{
	JsJson	   *root = parse(text);

	return root != NULL && js_json_is_bad(root);
}

static bool
same(const char *a, const char *b)
{
	return js_json_equal(parse(a), parse(b));
}

static void
test_json(void)
{
	static const char *const broken[] = {
		"", "{", "[1,]", "{\"a\":1,}", "{a:1}", "01", "1.", "-", "1e", "tru",
		"\"a", "\"\\x\"", "\"\\u12\"", "[1] x", "\xEF\xBB\xBF[]", "\"\n\"",
		"+1", ".5", "nul", "{\"a\" 1}", "[1 2]"
	};
	static const char *const spoilt[] = {
		"\"\\u0000\"", "\"\\ud800\"", "\"\\udc00x\"", "\"\xff\"",
		"\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"",
		"{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "1e401", "[1e-401]"
	};
	char		deep[200];

	for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++)
	{
		char		name[100];

		snprintf(name, sizeof(name), "broken JSON %zu is refused", i);
		ok(refused(broken[i]), name);
	}
	for (size_t i = 0; i < sizeof(spoilt) / sizeof(*spoilt); i++)
	{
		char		name[100];

		snprintf(name, sizeof(name), "spoilt value %zu is noted", i);
		ok(bad(spoilt[i]), name);
	}
	memset(deep, '[', 65);
	memset(deep + 65, ']', 65);
	deep[130] = '\0';
	ok(refused(deep), "nesting beyond the limit is refused");
	deep[0] = deep[129] = ' ';
	ok(!refused(deep), "nesting up to the limit is not");
	ok(!bad("{\"a\":{\"x\":1},\"b\":{\"x\":1}}"), "a key may come in two objects");
	ok(bad("[{\"ok\":1},{\"x\":\"\\u0000\"}]") &&
	   !js_json_is_bad(parse("[{\"ok\":1},{\"x\":\"\\u0000\"}]")->items[0]),
	   "only what contains a spoilt value is spoilt");
	ok(strcmp(text_of(parse(" { \"a\" : [ 1 , \"\\u00e9\\n\\\"\" ] } ")),
			  "{\"a\":[1,\"\xc3\xa9\\u000a\\\"\"]}") == 0,
	   "values are written compactly");
	ok(strcmp(text_of(parse("\"\\ud83d\\ude00\"")), "\"\xf0\x9f\x98\x80\"") == 0,
	   "a surrogate pair is one character");
	ok(same("1", "1.0") && same("100", "1e2") && same("0.1", "10e-2") &&
	   same("-0", "0") && same("1e300", "10e299") && same("0e5", "0") &&
	   same("120.50", "120.5"), "numbers are equal by value");
	ok(!same("1", "1.0000000000000000000001") && !same("1", "-1") &&
	   !same("1e300", "1e301") && !same("12", "1.2") && !same("0.1", "0.01"),
	   "and different by value");
	ok(same("{\"a\":1,\"b\":2}", "{\"b\":2.0,\"a\":1}") &&
	   !same("[1,2]", "[2,1]") && !same("\"1\"", "1") && !same("null", "0"),
	   "objects in any order, arrays in theirs");
	ok(js_json_blank(parse("\" \\t\"")) && js_json_blank(parse("[]")) &&
	   js_json_blank(parse("{}")) && js_json_blank(parse("null")) &&
	   !js_json_blank(parse("0")) && !js_json_blank(parse("[null]")),
	   "what is blank");
}

/* Predicates: jsonpath's own answers. */
static void
test_predicates(void)
{
	static const struct
	{
		const char *predicate;
		const char *json;
		int			holds;		/* -1: not one of these */
	}			cases[] = {
		{"($.\"deleted\" == true)", "{\"deleted\":true}", 1},
		{"($.\"deleted\" == true)", "{\"deleted\":false}", 0},
		{"($.\"deleted\" == true)", "{\"deleted\":\"true\"}", 0},
		{"($.\"deleted\" == true)", "{}", 0},
		{"($.\"deleted\" == true)", "[]", 0},
		{"($.\"n\" == 1)", "{\"n\":1.0}", 1},
		{"($.\"n\" == 1)", "{\"n\":[0,1]}", 1},
		{"($.\"n\" == null)", "{\"n\":null}", 1},
		{"($.\"s\".\"t\" == \"a == b\")", "{\"s\":{\"t\":\"a == b\"}}", 1},
		{"($[*].\"a\" == 2)", "[{\"a\":1},{\"a\":2}]", 1},
		{"($.\"a == b\" == 1)", "{}", -1},
		{"($.\"a\" == $.\"b\")", "{}", -1},
		{"($.\"a\" == true && $.\"b\" == true)", "{}", -1},
		{"($.\"a\" != true)", "{}", -1},
		{"strict ($.\"a\" == true)", "{}", -1},
		{"(exists ($.\"a\"))", "{}", -1},
		{"($.\"a\" > 1)", "{}", -1},
		{"$.\"a\"", "{}", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
	{
		JsPredicate *predicate = js_predicate_parse(cases[i].predicate,
													&allocator);

		ok((predicate == NULL ? -1 :
			js_predicate_holds(predicate, parse(cases[i].json), &allocator)) ==
		   cases[i].holds, cases[i].predicate);
	}
}

static void
test_paths(void)
{
	static const struct
	{
		const char *path;
		const char *json;
		const char *found;		/* as an array; NULL: missing */
	}			cases[] = {
		{"$.\"data\"[*]", "{\"data\":[1,2]}", "[1,2]"},
		{"$.\"data\"[*]", "{\"data\":[]}", "[]"},
		{"$.\"data\"[*]", "{\"x\":1}", NULL},
		{"$.\"data\".*", "{\"data\":{\"a\":1,\"b\":2}}", "[1,2]"},
		{"$.\"data\".*", "{\"data\":[]}", "[]"},
		{"$.\"data\"[*].\"rooms\"[*]", "{\"data\":[]}", "[]"},
		{"$.\"data\"[*].\"rooms\"[*]", "{\"data\":[{}]}", NULL},
		{"$[*]", "[1,[2]]", "[1,[2]]"},
		{"$[*]", "{\"a\":1}", "[{\"a\":1}]"},
		{"$.a.b", "{\"a\":[{\"b\":1},{\"b\":2},3]}", "[1,2]"},
		{"$.a[1]", "{\"a\":[5,6]}", "[6]"},
		{"$", "7", "[7]"},
		{"$.\"a\\\"b\"", "{\"a\\\"b\":3}", "[3]"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
	{
		JsPath	   *path = js_path_parse(cases[i].path, &allocator);
		JsJson	  **items;
		JsJson		array = {.type = JS_JSON_ARRAY};
		bool		missing;

		if (path == NULL)
		{
			ok(false, cases[i].path);
			continue;
		}
		js_path_eval(path, parse(cases[i].json), &allocator, &array.items,
					 &array.n, &missing);
		items = array.items;
		(void) items;
		ok(cases[i].found == NULL ? missing :
		   !missing && strcmp(text_of(&array), cases[i].found) == 0,
		   cases[i].path);
	}
	/* the first value alone, and a path that is one member */
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
	{
		JsPath	   *path = js_path_parse(cases[i].path, &allocator);
		JsJson	   *json = parse(cases[i].json);
		JsJson	  **items;
		int			n;
		bool		missing;

		js_path_eval(path, json, &allocator, &items, &n, &missing);
		ok(js_path_one(path, json, &allocator) == (n > 0 ? items[0] : NULL),
		   cases[i].path);
	}
	{
		size_t		len = 0;
		const char *key = js_path_key(js_path_parse("$.\"a b\"", &allocator),
									  &len);

		ok(key != NULL && len == 3 && memcmp(key, "a b", 3) == 0 &&
		   js_path_key(js_path_parse("$", &allocator), &len) == NULL &&
		   js_path_key(js_path_parse("$.a.b", &allocator), &len) == NULL &&
		   js_path_key(js_path_parse("$[0]", &allocator), &len) == NULL,
		   "a path that is one member");
	}
	test_predicates();
	ok(js_path_parse("$.a ? (@.b == 1)", &allocator) == NULL &&
	   js_path_parse("strict $.a", &allocator) == NULL &&
	   js_path_parse("$.a.size()", &allocator) == NULL &&
	   js_path_parse("$.a[*].b[last]", &allocator) == NULL &&
	   js_path_parse("$x", &allocator) == NULL,
	   "other paths are left to the server");
}

static bool
merges(const char *base, const char *local, const char *pms, const char *result)
{
	JsJson	   *merged = js_merge(&allocator, base ? parse(base) : NULL,
								  local ? parse(local) : NULL,
								  pms ? parse(pms) : NULL, JS_NEWER_UNKNOWN);

	if (strcmp(text_of(merged), result) == 0)
		return true;
	printf("# got %s\n", text_of(merged));
	return false;
}

static void
test_merge(void)
{
	char	   *lines;

	ok(merges("[\"a\",\"b\",\"c\"]", "[\"a\",\"c\",\"d\"]",
			  "[\"b\",\"c\",\"e\"]", "[\"b\",\"c\",\"d\",\"e\"]"),
	   "the example of the manual");
	ok(merges("[1,2]", "[1,2]", "[2]", "[2]"), "only the PMS changed");
	ok(merges("[1,2]", "[3]", "[1,2]", "[3,1,2]"), "a local removal comes back");
	ok(merges(NULL, "[1,2]", "[2,3]", "[1,2,3]"), "an unknown base: the union");
	ok(merges("[1]", "[1]", "null", "[]"), "the PMS cleared it");
	ok(merges("[]", "null", "null", "null"), "null only if both are");
	ok(merges("{\"a\":1,\"b\":1}", "{\"a\":2,\"b\":1}", "{\"a\":1,\"b\":3}",
			  "{\"a\":2,\"b\":3}"), "objects by key");
	ok(merges("{\"a\":1}", "{\"a\":2}", "{}", "{}"),
	   "a key that the PMS removed is gone");
	ok(merges("{\"a\":1}", "{}", "{\"a\":1}", "{\"a\":1}"),
	   "a key removed here comes back");
	ok(merges("{\"a\":[1]}", "{\"a\":[1,2]}", "{\"a\":[1,3]}",
			  "{\"a\":[1,2,3]}"), "nested arrays are sets");
	ok(merges("[1.0]", "[1]", "[1.00,2]", "[1.00,2]"),
	   "elements are equal by value");
	lines = js_merge_lines(&allocator, "a\nb", "a\nb\nc", "a\nd");
	ok(strcmp(lines, "a\nc\nd") == 0, "texts by line");
	ok(js_merge_lines(&allocator, NULL, NULL, NULL) == NULL,
	   "no text from no texts");
}

/* Random sets of small numbers as bits, and as JSON. */
static JsJson *
set_of(unsigned bits)
{
	char	   *text = allocate(NULL, 100);	/* the tree points into it */

	strcpy(text, "[");
	for (int i = 0; i < 8; i++)
		if (bits & (1u << i))
			sprintf(text + strlen(text), "%s%d", strlen(text) > 1 ? "," : "",
					i);
	strcat(text, "]");
	return parse(text);
}

static unsigned
bits_of(const JsJson *set)
{
	unsigned	bits = 0;

	for (int i = 0; i < set->n; i++)
	{
		unsigned	bit = 1u << atoi(set->items[i]->text);

		if (bits & bit)
			return ~0u;			/* a duplicate */
		bits |= bit;
	}
	return bits;
}

static void
property_merge(int cases)
{
	bool		good = true;

	for (int i = 0; i < cases && good; i++)
	{
		unsigned long long seed = state;
		unsigned	b = rnd(256);
		unsigned	l = rnd(3) ? b ^ (1u << rnd(8)) : rnd(256);
		unsigned	p = rnd(3) ? b ^ (1u << rnd(8)) : rnd(256);
		unsigned	m;

		used = 0;
		m = bits_of(js_merge(&allocator, set_of(b), set_of(l), set_of(p),
							 JS_NEWER_UNKNOWN));
		/* nothing but what somebody has; what the PMS removed is gone */
		good = m == ((b | l | p) & ~(b & ~p));
		/* again, with the PMS's value as the base: nothing changes */
		good = good &&
			bits_of(js_merge(&allocator, set_of(p), set_of(m), set_of(p),
							 JS_NEWER_UNKNOWN)) == m;
		if (!good)
			printf("# seed %llu: base %x local %x pms %x merged %x\n", seed,
				   b, l, p, m);
	}
	ok(good, "laws of merged sets");
}

/* A record in a world of small numbers, to see what plans do to it. */
typedef struct World
{
	int			base;
	bool		base_known;
	int			local;
	int			pms;
	bool		held;
} World;

#define FIELDS 4
#define BLANK 0

static void
facts_of(const World *world, const JsFieldFacts *rule, JsFieldFacts *facts)
{
	*facts = *rule;
	facts->base_known = world->base_known;
	facts->pms_present = true;
	facts->pms_changed = world->base_known && world->pms != world->base;
	facts->local_changed = world->base_known ? world->local != world->base :
		world->local != BLANK;
	facts->equal = world->local == world->pms;
	facts->pms_blank = world->pms == BLANK;
	facts->local_blank = world->local == BLANK;
	facts->held = world->held;
}

static void
carry_out(World *world, const JsDecision *decision)
{
	if (decision->action == JS_TAKE_PMS)
		world->local = world->pms;
	else if (decision->action == JS_TAKE_MERGED)
		world->local |= world->pms;
	if (decision->move_base)
	{
		world->base = world->pms;
		world->base_known = true;
	}
	world->held = decision->action == JS_HOLD;
}

static bool
one_plan(void)
{
	World		worlds[FIELDS];
	JsFieldFacts rules[FIELDS];
	JsFieldFacts facts[FIELDS];
	JsDecision	first[FIELDS];
	JsDecision	second[FIELDS];
	JsDecision	alone;
	JsRecordFacts record;
	JsStrategy	group_strategy = rnd(2) ? JS_PMS_WINS : JS_MANUAL;
	bool		group_blank = group_strategy == JS_PMS_WINS && rnd(2);

	memset(&record, 0, sizeof(record));
	record.on_local_edit = (JsLocalEdit) rnd(4);
	record.pms_time_known = rnd(4) != 0;
	record.pms_time = rnd(10);
	record.time_tolerance = rnd(3);
	for (int i = 0; i < FIELDS; i++)
	{
		World	   *w = &worlds[i];

		memset(&rules[i], 0, sizeof(rules[i]));
		w->base = rnd(4);
		w->local = rnd(3) ? w->base : (int) rnd(4);
		w->pms = rnd(3) ? w->base : (int) rnd(4);
		w->base_known = rnd(8) != 0;
		w->held = rnd(8) == 0;
		rules[i].strategy = (JsStrategy) rnd(5);
		rules[i].push = rnd(2);
		rules[i].unless_blank = rnd(2);
		rules[i].group = -1;
		rules[i].local_time_known = rnd(3) != 0;
		rules[i].local_time = rnd(10);
		if (i >= 2)
		{
			/* the last two are one */
			rules[i].strategy = group_strategy;
			rules[i].unless_blank = group_blank;
			rules[i].group = 2;
			w->base_known = true;
			w->held = false;
		}
		facts_of(w, &rules[i], &facts[i]);
	}
	js_plan_record(&record, facts, FIELDS, first);

	/* a field outside of groups does not care for the others */
	js_plan_record(&record, &facts[0], 1, &alone);
	if (memcmp(&alone, &first[0], sizeof(alone)) != 0)
		return false;

	for (int i = 0; i < FIELDS; i++)
	{
		/* only a local edit that is undone is audited without a conflict */
		if (first[i].audit && !first[i].both_changed &&
			first[i].reason != JS_LOCAL_EDIT_UNDONE)
			return false;
		/* what is held is neither written nor pushed, nor does it move */
		if (first[i].action == JS_HOLD &&
			(first[i].move_base || first[i].push || first[i].audit))
			return false;
		/* nobody's value is overwritten in silence */
		if (first[i].action == JS_TAKE_PMS && facts[i].base_known &&
			facts[i].local_changed && !facts[i].equal && !first[i].audit &&
			rules[i].group < 0)
			return false;
		carry_out(&worlds[i], &first[i]);
		facts_of(&worlds[i], &rules[i], &facts[i]);
	}
	js_plan_record(&record, facts, FIELDS, second);
	for (int i = 0; i < FIELDS; i++)
	{
		/* the same again: nothing is written, audited or newly held */
		int			before = worlds[i].local;

		carry_out(&worlds[i], &second[i]);
		if (worlds[i].local != before)
			return false;
		if (second[i].audit)
			return false;
		if (second[i].action == JS_HOLD && first[i].action != JS_HOLD)
			return false;
	}
	return true;
}

static void
property_plan(int cases)
{
	bool		good = true;

	for (int i = 0; i < cases && good; i++)
	{
		unsigned long long seed = state;

		good = one_plan();
		if (!good)
			printf("# case %d, seed %llu\n", i, seed);
	}
	ok(good, "laws of plans");
}

/*
 * A random JSON text.  shape decides what it is, style how it is written:
 * white space, escapes, spellings of numbers, order of members.
 */
static void
write_random(char **at, unsigned long long *shape, unsigned style, int depth)
{
	unsigned	what = (unsigned) (*shape >> 3) % (depth > 2 ? 4 : 6);
	unsigned	number = (unsigned) (*shape >> 7) % 5;
	int			n = (int) ((*shape >> 11) % 3);

	*shape = *shape * 6364136223846793005ULL + 1442695040888963407ULL;
	*at += sprintf(*at, "%s", style & 1 ? " " : "");
	switch (what)
	{
		case 0:
			*at += sprintf(*at, "%s", number & 1 ? "true" : "null");
			break;
		case 1:
			*at += sprintf(*at, style & 2 ? "%u.0" : style & 4 ? "0.%ue1" : "%u", number);
			break;
		case 2:
			*at += sprintf(*at, style & 2 ? "\"\\u00%02x\"" : "\"%c\"", 'a' + number);
			break;
		case 3:
			*at += sprintf(*at, "\"\"");
			break;
		case 4:
			*at += sprintf(*at, "[");
			for (int i = 0; i < n; i++)
			{
				*at += sprintf(*at, "%s", i ? "," : "");
				write_random(at, shape, style, depth + 1);
			}
			*at += sprintf(*at, "]");
			break;
		default:
			{
				char		members[3][4000];

				for (int i = 0; i < n; i++)
				{
					char	   *p = members[i];

					p += sprintf(p, "\"k%d\":", i);
					write_random(&p, shape, style, depth + 1);
				}
				*at += sprintf(*at, "{");
				for (int i = 0; i < n; i++)
					*at += sprintf(*at, "%s%s", i ? "," : "",
								   members[style & 8 ? n - 1 - i : i]);
				*at += sprintf(*at, "}");
			}
	}
}

static JsJson *
random_json(unsigned long long shape, unsigned style)
{
	char		text[20000];
	char	   *at = text;
	char	   *copy;

	write_random(&at, &shape, style, 0);
	*at = '\0';
	copy = allocate(NULL, strlen(text) + 1);
	strcpy(copy, text);
	return parse(copy);
}

/* Equality: reflexive, symmetric, transitive, blind to how it is written. */
static void
property_equal(int cases)
{
	bool		good = true;

	for (int i = 0; i < cases && good; i++)
	{
		unsigned long long seed = state;
		unsigned long long shape = ((unsigned long long) rnd(1 << 30) << 30) | rnd(1 << 30);
		JsJson	   *a = random_json(shape, rnd(16));
		JsJson	   *b = random_json(shape, rnd(16));
		JsJson	   *c = random_json(shape, rnd(16));
		JsJson	   *other = random_json(shape + (1 << rnd(12)), rnd(16));

		good = a && b && c && other && js_json_equal(a, a) &&
			js_json_equal(a, b) && js_json_equal(b, a) &&
			js_json_equal(b, c) && js_json_equal(a, c) &&
			js_json_equal(a, other) == js_json_equal(other, b) &&
			js_json_equal(a, parse(text_of(b)));
		if (!good)
			printf("# case %d, seed %llu\n", i, seed);
		used = 0;
	}
	ok(good, "laws of equality");
}

/* Is what the spans say of an array what the parser says of it? */
static bool
spans_agree(const char *text)
{
	JsJson	   *root = parse(text);
	JsJsonSpan *spans;
	JsJsonError error;
	int			n;

	if (root == NULL || root->type != JS_JSON_ARRAY ||
		!js_json_spans(text, strlen(text), &allocator, &spans, &n, &error) ||
		n != root->n)
		return false;
	for (int i = 0; i < n; i++)
	{
		const JsJson *id = root->items[i]->type == JS_JSON_OBJECT ?
			js_json_get(root->items[i], "id", 2) : NULL;

		if (spans[i].start != js_json_source(root->items[i]) ||
			spans[i].len != js_json_source_len(root->items[i]))
			return false;
		if (spans[i].id != NULL &&
			(id == NULL || id->len != spans[i].id_len ||
			 memcmp(id->text, spans[i].id, id->len) != 0))
			return false;
	}
	return true;
}

/* Values of arrays are found without a look into them. */
static void
property_spans(int cases)
{
	const char *odd = "[{\"id\":1,\"id\":2},{\"id\":\"\\u0041\"},{\"id\":-1}]";
	bool		good = true;
	JsJsonSpan *spans;
	JsJsonError error;
	int			n;

	for (int i = 0; i < cases && good; i++)
	{
		unsigned long long seed = state;
		char		text[20000];
		char	   *at = text;
		int			members = rnd(4);

		at += sprintf(at, " [%s", rnd(2) ? "\n" : "");
		for (int j = 0; j < members; j++)
		{
			unsigned long long shape = ((unsigned long long) rnd(1 << 30) << 30) | rnd(1 << 30);
			unsigned	kind = rnd(4);

			if (kind > 0)
				at += sprintf(at, "{\"%s\" : ", kind == 1 ? "id" : "x");
			write_random(&at, &shape, rnd(16), 2);
			if (kind > 0)
				at += sprintf(at, kind == 3 ? ",\"id\":\"A%d\"}" : "}", j);
			if (j < members - 1)
				at += sprintf(at, " ,\t");
		}
		sprintf(at, "] ");
		good = spans_agree(text);
		if (!good)
			printf("# case %d, seed %llu: %s\n", i, seed, text);
		used = 0;
	}
	ok(good, "spans are what the parser finds");
	ok(spans_agree("[{\"a\":\"]}\\\"{\",\"id\":\"x\"},[[\"]\"]],\"\\\\\",-1.5e3,null,{}]"),
	   "brackets and quotes in texts");
	ok(!js_json_spans("[1,2", 4, &allocator, &spans, &n, &error) &&
	   !js_json_spans("{}", 2, &allocator, &spans, &n, &error) &&
	   !js_json_spans("[\"a\\", 4, &allocator, &spans, &n, &error) &&
	   !js_json_spans("[1]x", 4, &allocator, &spans, &n, &error) &&
	   !js_json_spans("", 0, &allocator, &spans, &n, &error),
	   "what has no structure is refused");
	ok(js_json_spans(odd, strlen(odd), &allocator, &spans, &n, &error) && n == 3 &&
	   spans[0].id == NULL && spans[1].id == NULL && spans[2].id == NULL,
	   "an id that is not plain is none");
}

static void
test_dates(void)
{
	long long	t = 0;

	ok(js_http_date("Sun, 06 Nov 1994 08:49:37 GMT", &t) && t == 784111777,
	   "RFC 1123 date");
	ok(js_http_date("Sunday, 06-Nov-94 08:49:37 GMT", &t) && t == 784111777,
	   "RFC 850 date");
	ok(js_http_date("Sun Nov  6 08:49:37 1994", &t) && t == 784111777,
	   "asctime date");
	ok(!js_http_date("tomorrow", &t) &&
	   !js_http_date("Sun, 06 Foo 1994 08:49:37 GMT", &t), "no date");
	ok(js_retry_after("120", NULL) == 120 &&
	   js_retry_after("1000000000", NULL) == 3600 &&
	   js_retry_after("-5", NULL) == -1 && js_retry_after("soon", NULL) == -1 &&
	   js_retry_after("Sun, 06 Nov 1994 08:50:37 GMT",
					  "Sun, 06 Nov 1994 08:49:37 GMT") == 60 &&
	   js_retry_after("Sun, 06 Nov 1994 08:48:37 GMT",
					  "Sun, 06 Nov 1994 08:49:37 GMT") == -1,
	   "Retry-After in all its forms");
}

static void
test_mail(void)
{
	static const char *const to[] = {"a@b.c", "d@e.f", NULL};
	static const char *const bad[] = {
		"", "@", "a@", "@b", "a b@c", "a@b@c", "<a@b>", "a@b\r\nRCPT TO:<x@y>",
		"a@b>", "a,b@c", "\"a\"@b", "a@b\n", "a@b\x7f", "\xc3\xa4@b"
	};
	JsMail		mail = {
		"jack@hotel.example", to, "", "Mon, 01 Jan 2026 00:00:00 +0000",
		"1.2@x", ""
	};
	char	   *text;
	bool		good = true;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		good = good && !js_mail_address_ok(bad[i]);
	ok(good && js_mail_address_ok("ops+x@sub.hotel.com"), "mail addresses");

	mail.subject = "Zimmer 5: Stra\xc3\x9f" "e\r\nBcc: victim@x";
	mail.body = "line\n.\nRCPT TO:<x@y>\n";
	text = js_mail_build(&allocator, &mail);
	ok(text != NULL && strstr(text, "\r\nBcc") == NULL &&
	   strstr(text, "To: <a@b.c>,\r\n <d@e.f>\r\n") != NULL &&
	   strstr(text, "\r\n.\r\n") == NULL &&
	   strstr(text, "bGluZQouClJDUFQgVE86PHhAeT4K\r\n") != NULL,
	   "a mail with nothing injected");
	mail.date = "x\r\nBcc: y";
	ok(js_mail_build(&allocator, &mail) == NULL, "a bad date is refused");
	mail.date = "x";
	mail.from = "a@b\r\n";
	ok(js_mail_build(&allocator, &mail) == NULL, "a bad sender is refused");
}

int
main(int argc, char **argv)
{
	int			cases = argc > 1 ? atoi(argv[1]) : 100000;

	state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	if (state == 0)
		state = 1;
	printf("# %d cases, seed %llu\n", cases, state);
	test_json();
	test_paths();
	test_merge();
	test_dates();
	test_mail();
	property_merge(cases / 4);
	property_equal(cases / 10);
	property_spans(cases / 10);
	property_plan(cases);
	printf("1..%d\n", tests);
	return failures > 0;
}
