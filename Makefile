# jacksync: two-way synchronisation of tables with a hotel's PMS
#
#   make demo     see it work: needs nothing, leaves nothing behind
#   make check    run every test
#   make crash    every crash point with every action
#   make bench    speed beside its baselines (QUICK=1: less than a minute)
#   make soak     faults and writers for MINUTES, then an account
#   make asan     sanitizers inside of PostgreSQL; make static: analysis
#   make fuzz     SECONDS of it; make sqlsmith: MINUTES of random queries
#   make valgrind memcheck of every backend; make coverage: lines that are run
#   make indent-check  the layout; make indent mends it
#   make          build; make install installs into PG_CONFIG's server
#   make dist     a tarball; make deb: Debian packages
#   make reference  write doc/reference.md anew, out of the catalog

EXTENSION  = jacksync
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)

MODULE_big = $(EXTENSION)
OBJS = \
	src/json.o \
	src/jsonspan.o \
	src/jsonvalue.o \
	src/jspath.o \
	src/merge.o \
	src/plan.o \
	src/httpdate.o \
	src/mail.o \
	src/faultpoint.o \
	src/secure.o \
	src/statement.o \
	src/txn.o \
	src/wake.o \
	src/heap.o \
	src/heapmany.o \
	src/heapread.o \
	src/shared.o \
	src/progress.o \
	src/live.o \
	src/jsonb.o \
	src/texts.o \
	src/value.o \
	src/equal.o \
	src/httploop.o \
	src/httpaddress.o \
	src/httpurl.o \
	src/http.o \
	src/serveroptions.o \
	src/server.o \
	src/limiter.o \
	src/template.o \
	src/operation.o \
	src/stream.o \
	src/window.o \
	src/config.o \
	src/entity.o \
	src/credential.o \
	src/token.o \
	src/auth.o \
	src/installation.o \
	src/place.o \
	src/link.o \
	src/linkfind.o \
	src/journal.o \
	src/changelog.o \
	src/verdict.o \
	src/rowkey.o \
	src/rowheap.o \
	src/row.o \
	src/coerce.o \
	src/record.o \
	src/recordtree.o \
	src/streamtree.o \
	src/page.o \
	src/body.o \
	src/foldlog.o \
	src/fold.o \
	src/fieldstate.o \
	src/bases.o \
	src/notes.o \
	src/facts.o \
	src/deletes.o \
	src/newrows.o \
	src/apply.o \
	src/applypage.o \
	src/guard.o \
	src/openerrors.o \
	src/gone.o \
	src/push.o \
	src/refusal.o \
	src/outcome.o \
	src/sweep.o \
	src/walk.o \
	src/deliver.o \
	src/cycle.o \
	src/quiet.o \
	src/recount.o \
	src/request.o \
	src/detail.o \
	src/events.o \
	src/shelf.o \
	src/intake.o \
	src/pull.o \
	src/complete.o \
	src/absent.o \
	src/outbound.o \
	src/sending.o \
	src/answer.o \
	src/check.o \
	src/lookup.o \
	src/reconcile.o \
	src/run.o \
	src/freshness.o \
	src/resolve.o \
	src/explain.o \
	src/preview.o \
	src/drift.o \
	src/functions.o \
	src/rules.o \
	src/capture.o \
	src/schedule.o \
	src/worker.o \
	src/launcher.o \
	src/dropdb.o \
	src/module.o

SQL_PARTS = $(sort $(wildcard sql/parts/*.sql))
DATA       = $(wildcard sql/$(EXTENSION)--*--*.sql)
DATA_built = sql/$(EXTENSION)--$(EXTVERSION).sql

REGRESS        = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS   = --inputdir=test --load-extension=$(EXTENSION)
ISOLATION      = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=. --load-extension=$(EXTENSION)
TAP_TESTS      = 1
PROVE_TESTS   ?= test/t/*.pl

# Without the development files only the targets that fetch them can run.
TOOLS = demo check crash soak bench deps dist deb reference help \
	fuzz asan valgrind static coverage sqlsmith indent indent-check
ifneq ($(filter $(TOOLS),$(MAKECMDGOALS)),)

.PHONY: $(TOOLS)
help: ; @sed -n 's/^\# *\(make .*\)/\1/p' Makefile
dist: ; @test/bin/dist.sh
deb: ; @test/bin/deb.sh
reference: ; @test/bin/reference.sh
demo: ; @test/bin/demo.sh
check: ; @test/bin/check.sh
crash: ; @CRASH=full PROVE_TESTS=test/crash/*.pl test/bin/check.sh
bench: ; @test/bench/run.sh
soak: ; @test/bin/soak.sh
deps: ; @test/bin/deps.sh
fuzz: ; @test/bin/fuzz.sh $(SECONDS)
asan: ; @test/bin/asan.sh
valgrind: ; @test/bin/valgrind.sh $(TESTS)
static: ; @test/bin/static.sh
coverage: ; @test/bin/coverage.sh
sqlsmith: ; @test/bin/sqlsmith.sh $(MINUTES)
indent: ; @test/bin/indent.sh -i
indent-check: ; @test/bin/indent.sh

else

PG_CONFIG  ?= pg_config
PKG_CONFIG ?= pkg-config
CURL_LIBS  := $(shell $(PKG_CONFIG) --libs libcurl 2>/dev/null)
ifeq ($(CURL_LIBS),)
$(error libcurl's development files were not found: run "make deps", or set PKG_CONFIG_PATH)
endif

# Only what is marked PGDLLEXPORT leaves the library, on every version.
PG_CPPFLAGS = -DJACKSYNC_VERSION='"$(EXTVERSION)"' -fvisibility=hidden \
	-DPGDLLEXPORT='__attribute__((visibility("default")))' \
	$(shell $(PKG_CONFIG) --cflags libcurl)
SHLIB_LINK = $(CURL_LIBS)

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

PROVE_FLAGS += -I test/lib
$(OBJS): $(wildcard src/*.h) $(EXTENSION).control
sql/$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS) $(EXTENSION).control
	cat $(SQL_PARTS) > $@

endif
