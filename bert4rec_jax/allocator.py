"""Keep freed host memory in the process (Linux, glibc)."""

import ctypes
import platform

# From malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Let glibc reuse large blocks instead of returning them to the kernel at every free.

    XLA's CPU backend allocates its temporaries anew for every execution. By default glibc maps
    each and unmaps it afterwards, so a training step spends a third of its time in page faults
    (benchmarks/allocator.py). The process keeps its peak memory in exchange.

    Call before the first large allocation. Returns whether the allocator took the settings; other
    C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {
        _M_MMAP_MAX: 0,  # from the heap, never by mmap
        _M_TRIM_THRESHOLD: -1,  # never give the heap's top back
        _M_TOP_PAD: 64 << 20,  # grow it in large strides
        _M_ARENA_MAX: 1,  # one heap: other arenas cannot hold a large block
    }
    return all([mallopt(option, value) for option, value in settings.items()])
