package main

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

const block = 4096

// unsynced remembers, of every file, what it was when it was last synced: its length, and the blocks that were written
// over since. A power loss puts that back. Names (create, rename, remove) are taken to be on the disk at once.
type unsynced struct {
	gate   sync.RWMutex // held for reading by every change, for writing by the loss of power
	dark   bool
	lock   sync.Mutex
	images map[uint64]*image
}

type image struct {
	file   *os.File // a descriptor of our own: the file may have been closed, renamed or removed
	size   int64
	blocks map[int64][]byte
	since  time.Time
}

func newUnsynced(expire time.Duration) *unsynced {
	u := &unsynced{images: map[uint64]*image{}}
	if expire > 0 {
		go u.expireFor(expire)
	}
	return u
}

// change carries out a change of the bytes from `from` to `to` of a file (to < 0: to its end), after they were saved.
func (u *unsynced) change(fd int, from, to int64, act func() syscall.Errno) syscall.Errno {
	u.gate.RLock()
	defer u.gate.RUnlock()
	if u.dark {
		return 0 // whoever wrote it is dead, and the kernel writes what it had cached: lost
	}
	if err := u.save(fd, from, to); err != nil {
		return syscall.EIO
	}
	return act()
}

func (u *unsynced) save(fd int, from, to int64) error {
	u.lock.Lock()
	defer u.lock.Unlock()
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return err
	}
	one := u.images[stat.Ino]
	if one == nil {
		file, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		one = &image{file: file, size: stat.Size, blocks: map[int64][]byte{}, since: time.Now()}
		u.images[stat.Ino] = one
	}
	if to < 0 || to > one.size {
		to = one.size
	}
	for at := from / block * block; at < to; at += block {
		if one.blocks[at] != nil {
			continue
		}
		data := make([]byte, min64(block, one.size-at))
		if _, err := one.file.ReadAt(data, at); err != nil && len(data) > 0 && stat.Size >= at+int64(len(data)) {
			return err
		}
		one.blocks[at] = data
	}
	return nil
}

func min64(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

// synced carries out a sync of a file; what was written before it is safe then.
func (u *unsynced) synced(fd int, act func() syscall.Errno) syscall.Errno {
	u.gate.RLock()
	defer u.gate.RUnlock()
	if u.dark {
		return 0
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return fsErrno(err)
	}
	u.lock.Lock()
	before := u.images[stat.Ino]
	delete(u.images, stat.Ino) // a write beside this sync makes an image anew, of what it finds
	u.lock.Unlock()
	errno := act()
	if before == nil {
		return errno
	}
	if errno == 0 {
		before.file.Close()
		return 0
	}
	u.keep(stat.Ino, before)
	return errno
}

// keep puts an image back whose sync failed; what is older wins over what a write beside it has saved.
func (u *unsynced) keep(inode uint64, before *image) {
	u.lock.Lock()
	defer u.lock.Unlock()
	if newer := u.images[inode]; newer != nil {
		for at, data := range newer.blocks {
			if before.blocks[at] == nil && at < before.size {
				before.blocks[at] = data
			}
		}
		newer.file.Close()
	}
	u.images[inode] = before
}

func (u *unsynced) size() (files int, bytes int64) {
	u.lock.Lock()
	defer u.lock.Unlock()
	for _, one := range u.images {
		files++
		bytes += one.ahead()
	}
	return files, bytes
}

// ahead is how many bytes would be lost: those beyond the old length, and the blocks that were written over.
func (i *image) ahead() int64 {
	var stat syscall.Stat_t
	grown := int64(0)
	if err := syscall.Fstat(int(i.file.Fd()), &stat); err == nil && stat.Size > i.size {
		grown = stat.Size - i.size
	}
	return grown + int64(len(i.blocks))*block
}

func (u *unsynced) lose() (files int, bytes int64) {
	u.gate.Lock()
	defer u.gate.Unlock()
	u.dark = true
	u.lock.Lock()
	defer u.lock.Unlock()
	for inode, one := range u.images {
		files++
		bytes += one.ahead()
		one.restore()
		delete(u.images, inode)
	}
	return files, bytes
}

func (u *unsynced) on() {
	u.gate.Lock()
	defer u.gate.Unlock()
	u.dark = false
}

func (u *unsynced) isDark() bool {
	u.gate.RLock()
	defer u.gate.RUnlock()
	return u.dark
}

func (i *image) restore() {
	defer i.file.Close()
	for at, data := range i.blocks {
		i.file.WriteAt(data, at)
	}
	i.file.Truncate(i.size)
}

// expireFor syncs what is older than `age`, as the kernel would have written it back by then.
func (u *unsynced) expireFor(age time.Duration) {
	for range time.Tick(age / 10) {
		for _, file := range u.older(age) {
			u.synced(int(file.Fd()), func() syscall.Errno { return fsErrno(syscall.Fdatasync(int(file.Fd()))) })
		}
	}
}

func (u *unsynced) older(age time.Duration) []*os.File {
	u.lock.Lock()
	defer u.lock.Unlock()
	var found []*os.File
	for _, one := range u.images {
		if time.Since(one.since) > age {
			found = append(found, one.file)
		}
	}
	return found
}
