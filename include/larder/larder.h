/* liblarder: the C client of larder.
 *
 * So far it can say which version it is; connections, the ring, the cluster and
 * the cache patterns are the work of the client issue (docs/ROADMAP.md). The
 * header is C99 and may be included from C++. Only names that start with
 * `larder_` leave the shared library. */
#ifndef LARDER_LARDER_H
#define LARDER_LARDER_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LARDER_API __attribute__((visibility("default")))
#else
#define LARDER_API
#endif

/* "major.minor.patch" of the library that is linked. Never NULL, never freed. */
LARDER_API const char *larder_version(void);

#ifdef __cplusplus
}
#endif

#endif
