/* What Lua asks of a C library and WASI's does not have: temporary files and other programs. Both
   fail as they do on a system without them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LUA_TMPNAMBUFSIZE 1
#define lua_tmpnam(buffer, failed) { (void)(buffer); (failed) = 1; }
#define tmpfile() (errno = ENOSYS, (FILE *)NULL)
#define system(command) ((command) ? (errno = ENOSYS, -1) : 0)
