"""A disk that fails at one place: `python failing_disk.py FILE FOLDER BAD` serves FILE as FOLDER/file until it is
unmounted, and every read that touches a byte from BAD to BAD + 64 KiB fails with EIO. With a further argument, each
read takes so many seconds.

It speaks the kernel's own protocol (Linux's fuse.h, version 7.31) on /dev/fuse, since only a real file system can
make a memory map fail. Needs root. A process of its own: the kernel waits for its answers.
"""

import ctypes
import errno
import os
import stat
import struct
import sys
import time

BAD_BYTES = 2**16

_LOOKUP, _GETATTR, _OPEN, _READ, _FLUSH, _RELEASE, _INIT, _OPENDIR, _FORGET = 1, 3, 14, 15, 25, 18, 26, 27, 2
_ROOT, _FILE = 1, 2
_HEADER = struct.Struct("<IIQQIIII")
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_FOREVER = 3600


def main(path: str, folder: str, bad: int, pause: float = 0.0) -> None:
    """Serve until the file system is unmounted."""
    source, device = os.open(path, os.O_RDONLY), os.open("/dev/fuse", os.O_RDWR)
    size = os.fstat(source).st_size
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"failing-disk", folder.encode(), b"fuse", 0, options):
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    print("mounted", flush=True)

    def attributes(node: int) -> bytes:
        is_root = node == _ROOT
        mode = stat.S_IFDIR | 0o755 if is_root else stat.S_IFREG | 0o444
        length = 0 if is_root else size
        return _ATTRIBUTES.pack(node, length, -(-length // 512), *[0] * 6, mode, 1, 0, 0, 0, 4096, 0)

    def answer(operation: int, node: int, body: bytes) -> bytes | int:
        """The reply's body, or an error number."""
        if operation == _INIT:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, 2**20, 0, 16, 16, 2**17, 1, 0, 0, 0)
        if operation == _LOOKUP:
            if body != b"file\0":
                return errno.ENOENT
            return struct.pack("<QQQQII", _FILE, 0, _FOREVER, _FOREVER, 0, 0) + attributes(_FILE)
        if operation == _GETATTR:
            return struct.pack("<QII", _FOREVER, 0, 0) + attributes(node)
        if operation in (_OPEN, _OPENDIR):
            return struct.pack("<QII", 0, 0, 0)
        if operation == _READ:
            _, offset, count = struct.unpack_from("<QQI", body)
            time.sleep(pause)
            if offset < bad + BAD_BYTES and offset + count > bad:
                return errno.EIO
            return os.pread(source, count, offset)
        return b"" if operation in (_FLUSH, _RELEASE) else errno.ENOSYS

    while True:
        try:
            request = os.read(device, 2**21)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            raise
        _, operation, unique, node, *_ = _HEADER.unpack_from(request)
        if operation == _FORGET:
            continue
        reply = answer(operation, node, request[_HEADER.size :])
        code, body = (-reply, b"") if isinstance(reply, int) else (0, reply)
        os.write(device, struct.pack("<IiQ", 16 + len(body), code, unique) + body)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(float, sys.argv[4:]))
