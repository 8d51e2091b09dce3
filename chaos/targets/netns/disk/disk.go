package main

import (
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Kinds of operations that a fault may name.
const (
	read  = "read"
	write = "write" // and fallocate, and truncate
	flush = "sync"  // fsync, fdatasync
	meta  = "meta"  // create, rename, remove, make a directory, link
)

var kinds = []string{read, write, flush, meta}

// fault hits a share of the operations of some kinds: later by a delay, then failed with an errno if there is one.
type fault struct {
	Ops     []string `json:"ops"`
	Share   float64  `json:"share"`
	DelayNs int64    `json:"delay_ns"`
	Errno   int      `json:"errno"`
}

type request struct {
	Op    string `json:"op"`
	Name  string `json:"name"`
	Fault fault  `json:"fault"`
	Seed  int64  `json:"seed"`
}

// count is what happened to one kind of operations since the start; Ns is the time that they took, delays included.
type count struct {
	Calls   atomic.Int64
	Delayed atomic.Int64
	Failed  atomic.Int64
	Ns      atomic.Int64
}

type state struct {
	Ops           map[string]map[string]int64 `json:"ops"`
	Faults        map[string]fault            `json:"faults"`
	Dark          bool                        `json:"dark"`
	UnsyncedFiles int                         `json:"unsynced_files"`
	UnsyncedBytes int64                       `json:"unsynced_bytes"`
	LostFiles     int                         `json:"lost_files"`
	LostBytes     int64                       `json:"lost_bytes"`
	Error         string                      `json:"error,omitempty"`
}

type disk struct {
	counts   map[string]*count
	unsynced *unsynced

	lock   sync.Mutex
	faults map[string]fault
	dice   *rand.Rand

	forget func() // the kernel's cached pages and attributes of every file

	lostFiles int
	lostBytes int64
}

func newDisk(expire time.Duration) *disk {
	counts := map[string]*count{}
	for _, kind := range kinds {
		counts[kind] = &count{}
	}
	return &disk{
		counts: counts, unsynced: newUnsynced(expire), faults: map[string]fault{}, dice: rand.New(rand.NewSource(1)),
	}
}

func (d *disk) carryOut(asked request) state {
	var err error
	switch asked.Op {
	case "add":
		err = d.add(asked.Name, asked.Fault, asked.Seed)
	case "remove":
		d.remove(asked.Name)
	case "off":
		d.off()
	case "on":
		d.unsynced.on()
	case "state":
	default:
		err = fmt.Errorf("no op %q; there are add, remove, off, on, state", asked.Op)
	}
	found := d.state()
	if err != nil {
		found.Error = err.Error()
	}
	return found
}

func (d *disk) add(name string, one fault, seed int64) error {
	for _, kind := range one.Ops {
		if d.counts[kind] == nil {
			return fmt.Errorf("no operation %q; there are %v", kind, kinds)
		}
	}
	d.lock.Lock()
	defer d.lock.Unlock()
	d.faults[name], d.dice = one, rand.New(rand.NewSource(seed))
	return nil
}

func (d *disk) remove(name string) {
	d.lock.Lock()
	defer d.lock.Unlock()
	delete(d.faults, name)
}

// off takes back what was not synced, and lets no change pass any more; what the kernel still had to write is gone too.
func (d *disk) off() {
	files, bytes := d.unsynced.lose()
	d.forget()
	d.lock.Lock()
	defer d.lock.Unlock()
	d.lostFiles += files
	d.lostBytes += bytes
}

func (d *disk) state() state {
	found := state{Ops: map[string]map[string]int64{}, Faults: map[string]fault{}, Dark: d.unsynced.isDark()}
	for kind, one := range d.counts {
		found.Ops[kind] = map[string]int64{
			"calls": one.Calls.Load(), "delayed": one.Delayed.Load(), "failed": one.Failed.Load(), "ns": one.Ns.Load(),
		}
	}
	found.UnsyncedFiles, found.UnsyncedBytes = d.unsynced.size()
	d.lock.Lock()
	defer d.lock.Unlock()
	for name, one := range d.faults {
		found.Faults[name] = one
	}
	found.LostFiles, found.LostBytes = d.lostFiles, d.lostBytes
	return found
}

// draw decides what happens to one operation.
func (d *disk) draw(kind string) (delay time.Duration, errno syscall.Errno) {
	d.lock.Lock()
	defer d.lock.Unlock()
	for _, one := range d.faults {
		if !one.concerns(kind) || (one.Share < 1 && d.dice.Float64() >= one.Share) {
			continue
		}
		delay += time.Duration(one.DelayNs)
		if one.Errno != 0 && errno == 0 {
			errno = syscall.Errno(one.Errno)
		}
	}
	return delay, errno
}

func (f fault) concerns(kind string) bool {
	for _, one := range f.Ops {
		if one == kind {
			return true
		}
	}
	return false
}

// through carries an operation out, delayed or failed as the faults in force have it.
func (d *disk) through(kind string, act func() syscall.Errno) syscall.Errno {
	one, began := d.counts[kind], time.Now()
	one.Calls.Add(1)
	delay, errno := d.draw(kind)
	if delay > 0 {
		one.Delayed.Add(1)
		time.Sleep(delay)
	}
	if errno != 0 {
		one.Failed.Add(1)
	} else {
		errno = act()
	}
	one.Ns.Add(int64(time.Since(began)))
	return errno
}
