/*-------------------------------------------------------------------------
 *
 * httpaddress.c
 *	  Which addresses may be connected to.
 *
 * It is the resolved address that is looked at, whatever its name is.  Called
 * from libcurl's callbacks: nothing here throws or allocates.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "compat.h"
#include "httpaddress.h"

static bool ipv4_allowed(bool allow_private, uint32 a, bool *loopback);

/*
 * May we connect to this address?  Loopback always; never to this host's
 * wildcard, link-local or multicast addresses; to private ones if the server
 * says so.  Without TLS (plain) to loopback only, unless allow_http.
 */
bool
js_http_address_allowed(const struct sockaddr *address, bool plain,
						bool allow_http, bool allow_private)
{
	static const uint8 nat64[12] = {0, 0x64, 0xFF, 0x9B};
	bool		loopback = false;
	bool		allowed = false;

	if (address->sa_family == AF_INET)
		allowed = ipv4_allowed(allow_private,
							   ntohl(((const struct sockaddr_in *) address)->sin_addr.s_addr),
							   &loopback);
	else if (address->sa_family == AF_INET6)
	{
		const struct in6_addr *in6 =
		&((const struct sockaddr_in6 *) address)->sin6_addr;
		const uint8 *b = in6->s6_addr;

		if (IN6_IS_ADDR_V4MAPPED(in6) || IN6_IS_ADDR_V4COMPAT(in6))
		{
			if (IN6_IS_ADDR_LOOPBACK(in6))
				allowed = loopback = true;
			else
				allowed = ipv4_allowed(allow_private, (uint32) b[12] << 24 | b[13] << 16 |
									   b[14] << 8 | b[15], &loopback);
		}
		else if (memcmp(b, nat64, sizeof(nat64)) == 0 ||
				 (b[0] == 0x20 && b[1] == 0x02))
		{
			/* a translator or a relay would take us to that IPv4 address */
			const uint8 *v4 = b[0] == 0x20 ? b + 2 : b + 12;

			allowed = ipv4_allowed(allow_private, (uint32) v4[0] << 24 |
								   v4[1] << 16 | v4[2] << 8 | v4[3], &loopback) &&
				!loopback;
			loopback = false;
		}
		else if (IN6_IS_ADDR_LOOPBACK(in6))
			allowed = loopback = true;
		else if (IN6_IS_ADDR_UNSPECIFIED(in6) || IN6_IS_ADDR_LINKLOCAL(in6) ||
				 IN6_IS_ADDR_MULTICAST(in6))
			allowed = false;
		else if ((b[0] & 0xFE) == 0xFC || IN6_IS_ADDR_SITELOCAL(in6))
			allowed = allow_private;
		else
			allowed = true;
	}
	if (plain && !loopback && !allow_http)
		return false;
	return allowed;
}

/* The same for IPv4, in host byte order. */
static bool
ipv4_allowed(bool allow_private, uint32 a, bool *loopback)
{
	if ((a >> 24) == 127)
	{
		*loopback = true;
		return true;
	}
	if ((a >> 24) == 0 || (a >> 16) == 0xA9FE || (a >> 28) >= 14)
		return false;			/* this host, link-local, multicast and up */
	if ((a >> 24) == 10 || (a >> 20) == 0xAC1 || (a >> 16) == 0xC0A8 ||
		(a >> 22) == (0x64400000 >> 22))
		return allow_private;	/* RFC 1918 and carrier-grade NAT */
	return true;
}
