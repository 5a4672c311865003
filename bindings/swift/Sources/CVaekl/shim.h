/* A module map names files of its own folder; the header is where pkg-config says. */
#include <vaekl.h>
