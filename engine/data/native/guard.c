/* Reading a memory map of a file that was cut short, or whose disk fails, is a SIGBUS, which ends the process without
   a word. Inside a guarded range the page is replaced by zeros instead and the place is noted; whoever reads the
   range asks for it afterwards and must not use what was read. Elsewhere the signal does what it did before. */
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define RANGES 64

static struct {
    _Atomic uintptr_t begin, end; /* end is 0 where the slot is free */
    _Atomic int64_t fault;        /* offset of the first fault, or -1 */
} ranges[RANGES];
static struct sigaction before;
static uintptr_t page_size;

static void on_bus_error(int signal, siginfo_t *info, void *context) {
    uintptr_t address = (uintptr_t)info->si_addr;
    for (int slot = 0; slot < RANGES; slot++) {
        uintptr_t begin = atomic_load(&ranges[slot].begin);
        if (address < begin || address >= atomic_load(&ranges[slot].end)) continue;
        /* Noted first: from the next line on other threads can read the zeros. */
        int64_t none = -1;
        atomic_compare_exchange_strong(&ranges[slot].fault, &none, (int64_t)(address - begin));
        void *page = (void *)(address / page_size * page_size);
        if (mmap(page, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
        return;
    }
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(signal, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(signal);
    else
        sigaction(SIGBUS, &before, NULL); /* the instruction runs again, now with the old handling */
}

/* The slot that now guards [address, address + size), or -1. Not to be called from two threads at once. */
int64_t engine_guard(const void *address, int64_t size) {
    struct sigaction now = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK}, current;
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (sigaction(SIGBUS, NULL, &current)) return -1;
    if (current.sa_sigaction != on_bus_error) {
        before = current;
        if (sigaction(SIGBUS, &now, NULL)) return -1;
    }
    for (int64_t slot = 0; slot < RANGES; slot++)
        if (!atomic_load(&ranges[slot].end)) {
            atomic_store(&ranges[slot].fault, -1);
            atomic_store(&ranges[slot].begin, (uintptr_t)address);
            atomic_store(&ranges[slot].end, (uintptr_t)address + (uintptr_t)size);
            return slot;
        }
    return -1;
}

/* Where in the range a read failed first, in bytes; -1: nowhere. */
int64_t engine_fault(int64_t slot) { return atomic_load(&ranges[slot].fault); }

void engine_unguard(int64_t slot) { atomic_store(&ranges[slot].end, 0); }
