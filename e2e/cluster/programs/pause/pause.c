/* Holds a Pod's namespaces: does nothing but wait for a signal. The kernel gives a container's first process no
 * default action for SIGTERM, so without a handler every Pod would take its whole grace period to end. */
#include <signal.h>
#include <unistd.h>
static void end(int signal) { (void)signal; _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
