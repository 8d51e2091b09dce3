package main

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func fsErrno(err error) syscall.Errno { return fs.ToErrno(err) }

// node is a file or folder; what only looks goes past the faults.
type node struct {
	fs.LoopbackNode
	disk *disk
}

func (n *node) through(act func() syscall.Errno) syscall.Errno { return n.disk.through(meta, act) }

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	inner, fuseFlags, errno := n.LoopbackNode.Open(ctx, readable(flags)&^syscall.O_TRUNC)
	if errno != 0 {
		return nil, 0, errno
	}
	opened := n.wrap(inner, flags)
	if flags&syscall.O_TRUNC != 0 {
		if errno := opened.truncate(0); errno != 0 {
			return nil, 0, errno
		}
	}
	return opened, fuseFlags, 0
}

// readable makes a write-only descriptor one that can be read: what is written over has to be saved first. O_DIRECT is
// between the kernel and us; our own buffers are not aligned.
func readable(flags uint32) uint32 {
	flags &^= syscall.O_DIRECT
	if flags&syscall.O_ACCMODE == syscall.O_WRONLY {
		return flags&^syscall.O_ACCMODE | syscall.O_RDWR
	}
	return flags
}

func (n *node) wrap(inner fs.FileHandle, flags uint32) *file {
	return &file{LoopbackFile: inner.(*fs.LoopbackFile), disk: n.disk, direct: flags&syscall.O_DSYNC != 0}
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (child *fs.Inode, handle fs.FileHandle, fuseFlags uint32, errno syscall.Errno) {
	errno = n.through(func() (errno syscall.Errno) {
		child, handle, fuseFlags, errno = n.LoopbackNode.Create(ctx, name, readable(flags), mode, out)
		return errno
	})
	if errno != 0 {
		return nil, nil, 0, errno
	}
	return child, n.wrap(handle, flags), fuseFlags, 0
}

func (n *node) Mknod(ctx context.Context, name string, mode, device uint32, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.through(func() (errno syscall.Errno) {
		child, errno = n.LoopbackNode.Mknod(ctx, name, mode, device, out)
		return errno
	})
	return child, errno
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.through(func() (errno syscall.Errno) {
		child, errno = n.LoopbackNode.Mkdir(ctx, name, mode, out)
		return errno
	})
	return child, errno
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	return n.through(func() syscall.Errno { return n.LoopbackNode.Rmdir(ctx, name) })
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	return n.through(func() syscall.Errno { return n.LoopbackNode.Unlink(ctx, name) })
}

func (n *node) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	return n.through(func() syscall.Errno { return n.LoopbackNode.Rename(ctx, name, parent, newName, flags) })
}

func (n *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.through(func() (errno syscall.Errno) {
		child, errno = n.LoopbackNode.Symlink(ctx, target, name, out)
		return errno
	})
	return child, errno
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.through(func() (errno syscall.Errno) {
		child, errno = n.LoopbackNode.Link(ctx, target, name, out)
		return errno
	})
	return child, errno
}

// Setattr opens the file for a change of its length: what is cut off has to be saved first.
func (n *node) Setattr(ctx context.Context, handle fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	size, resized := in.GetSize()
	if resized {
		opened, ours := handle.(*file)
		if !ours {
			inner, _, errno := n.LoopbackNode.Open(ctx, syscall.O_RDWR)
			if errno != 0 {
				return errno
			}
			opened = n.wrap(inner, 0)
			defer opened.Release(ctx)
		}
		if errno := opened.truncate(int64(size)); errno != 0 {
			return errno
		}
	}
	return n.LoopbackNode.Setattr(ctx, handle, in, out)
}

// Tmpfile is refused, as some file systems do (open(2), O_TMPFILE): a file without a name would go past us.
func (n *node) Tmpfile(context.Context, uint32, uint32, *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, syscall.EOPNOTSUPP
}

// CopyFileRange goes by read and write, like everything else.
func (n *node) CopyFileRange(context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64) (uint32, syscall.Errno) {
	return 0, syscall.ENOSYS
}

// forget has the kernel drop what it has cached of this file and of all below; what it had yet to write comes first.
func forget(inode *fs.Inode) {
	inode.NotifyContent(0, 0)
	for _, child := range inode.Children() {
		forget(child)
	}
}

// file is an open file; `direct`: each write is synced by itself (O_DSYNC, O_SYNC).
type file struct {
	*fs.LoopbackFile
	disk   *disk
	direct bool
}

// PassthroughFd keeps the kernel from reading and writing without us (FUSE_PASSTHROUGH, Linux 6.9).
func (f *file) PassthroughFd() (int, bool) { return 0, false }

func (f *file) fd() int {
	fd, _ := f.LoopbackFile.PassthroughFd()
	return fd
}

func (f *file) Read(ctx context.Context, buffer []byte, offset int64) (result fuse.ReadResult, errno syscall.Errno) {
	errno = f.disk.through(read, func() (errno syscall.Errno) {
		result, errno = f.LoopbackFile.Read(ctx, buffer, offset)
		return errno
	})
	return result, errno
}

func (f *file) Write(ctx context.Context, data []byte, offset int64) (written uint32, errno syscall.Errno) {
	written = uint32(len(data))
	errno = f.disk.through(write, func() syscall.Errno {
		return f.disk.unsynced.change(f.fd(), offset, offset+int64(len(data)), func() (errno syscall.Errno) {
			written, errno = f.LoopbackFile.Write(ctx, data, offset)
			return errno
		})
	})
	if errno == 0 && f.direct {
		errno = f.sync(ctx)
	}
	return written, errno
}

func (f *file) Allocate(ctx context.Context, offset, size uint64, mode uint32) syscall.Errno {
	return f.disk.through(write, func() syscall.Errno {
		return f.disk.unsynced.change(f.fd(), int64(offset), int64(offset+size), func() syscall.Errno {
			return f.LoopbackFile.Allocate(ctx, offset, size, mode)
		})
	})
}

func (f *file) Fsync(ctx context.Context, _ uint32) syscall.Errno {
	return f.disk.through(flush, func() syscall.Errno { return f.sync(ctx) })
}

func (f *file) sync(ctx context.Context) syscall.Errno {
	return f.disk.unsynced.synced(f.fd(), func() syscall.Errno { return f.LoopbackFile.Fsync(ctx, 0) })
}

func (f *file) truncate(size int64) syscall.Errno {
	return f.disk.through(write, func() syscall.Errno {
		return f.disk.unsynced.change(f.fd(), size, -1, func() syscall.Errno {
			return fsErrno(syscall.Ftruncate(f.fd(), size))
		})
	})
}
