#include "server/crash.h"

#include "base/alloc.h"
#include "base/annotate.h"
#include "base/log.h"
#include "base/num.h"
#include "os/clock.h"

#if !defined(LARDER_ASAN) && !defined(LARDER_TSAN)

#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

enum { ALT_STACK = 64 * 1024, FRAMES_MAX = 64, THREAD_NAME = 16 };

static struct {
    _Atomic pid_t thread; /* the one that reports; 0 = none */
    int64_t since_ns;     /* CLOCK_MONOTONIC at boot */
} crash;

static void put(const char *text)
{
    log_raw(text, strlen(text));
}

static void put_u64(uint64_t v)
{
    char text[NUM_I64_TEXT_MAX + 1];
    log_raw(text, num_put_u64(text, v));
}

static void put_hex(uintptr_t v)
{
    char text[2 + 16];
    unsigned n = sizeof text;
    do {
        text[--n] = "0123456789abcdef"[v & 15];
        v >>= 4;
    } while (v != 0);
    text[--n] = 'x';
    text[--n] = '0';
    log_raw(text + n, sizeof text - n);
}

static void put_frame(void *pc)
{
    Dl_info info;
    put("  ");
    put_hex((uintptr_t)pc);
    if (dladdr(pc, &info) != 0) {
        put(" ");
        put(info.dli_sname != NULL ? info.dli_sname : "?");
        put(" in ");
        put(info.dli_fname);
        put("+");
        put_hex((uintptr_t)pc - (uintptr_t)info.dli_fbase);
    }
    put("\n");
}

static uintptr_t program_counter(const void *context)
{
    const ucontext_t *uc = context;
#if defined(__x86_64__)
    return (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)uc->uc_mcontext.pc;
#else
    return 0;
#endif
}

static void put_cause(int sig, const siginfo_t *info, const void *context)
{
    char name[THREAD_NAME] = "";
    prctl(PR_GET_NAME, name);
    put("\n=== LARDER CRASH REPORT: cut here ===\nlarder " LARDER_VERSION " (pid ");
    put_u64((uint64_t)getpid());
    put(") crashed by signal ");
    put_u64((uint64_t)sig);
    put(" (");
    put(sigdescr_np(sig));
    put("), thread ");
    put(name);
    if (info->si_code <= 0) {
        put(", sent by process ");
        put_u64((uint64_t)info->si_pid);
    } else {
        put(", address ");
        put_hex((uintptr_t)info->si_addr);
    }
    put(", instruction ");
    put_hex(program_counter(context));
    put(", after ");
    put_u64((uint64_t)(os_mono_ns() - crash.since_ns) / 1000000000);
    put(" seconds\n");
}

static void put_report(int sig, const siginfo_t *info, const void *context)
{
    void *frames[FRAMES_MAX];
    put_cause(sig, info, context);
    put("------ STACK TRACE ------\n");
    int n = backtrace(frames, FRAMES_MAX);
    for (int i = 0; i < n; i++)
        put_frame(frames[i]);
    put("------\nPlease report this with the lines above and the configuration. The data was in memory only: "
        "restart the node, and look at the last log lines before this report for what it was doing.\n"
        "=== END OF CRASH REPORT ===\n");
}

static void on_crash(int sig, siginfo_t *info, void *context)
{
    pid_t self = gettid(), nobody = 0;
    if (atomic_compare_exchange_strong(&crash.thread, &nobody, self))
        put_report(sig, info, context);
    else if (nobody != self)
        for (;;)
            pause(); /* another thread is reporting; it ends the process */
    signal(sig, SIG_DFL);
    raise(sig);
}

void crash_install(bool enabled)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    void *warm_up[1];
    backtrace(warm_up, 1); /* loads libgcc now, not in the handler */
    if (crash.since_ns == 0)
        crash.since_ns = os_mono_ns();
    struct sigaction report = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    struct sigaction none = {.sa_handler = SIG_DFL};
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
        sigaction(signals[i], enabled ? &report : &none, NULL);
}

void crash_thread_begin(void)
{
    stack_t ss = {.ss_sp = mem_alloc(ALT_STACK), .ss_size = ALT_STACK};
    if (ss.ss_sp != NULL)
        sigaltstack(&ss, NULL);
}

void crash_thread_end(void)
{
    stack_t off = {.ss_flags = SS_DISABLE}, old;
    if (sigaltstack(&off, &old) == 0 && !(old.ss_flags & SS_DISABLE))
        mem_free(old.ss_sp);
}

#else /* the sanitizers report by themselves, on stacks of their own */

void crash_install(bool enabled)
{
}

void crash_thread_begin(void)
{
}

void crash_thread_end(void)
{
}

#endif
