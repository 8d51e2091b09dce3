// A disk that can be made slow, faulty, full or forgetful: every file below one folder, served by FUSE on that same path.
//
//	process on a node ─▶ kernel ─▶ this ─▶ delay? fail? ─▶ the folder itself, by a descriptor opened before the mount
//	                                ▲
//	controller ─ JSON lines on a Unix socket ┘
//
// Mounted over the folder that it serves, it is on the way in the mount namespace where it was started, and in no other:
// the same path leads to the same files with it and without it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	cached  = 0  // attributes: what the controller writes beside the mount is seen at once
	inQueue = 64 // requests that the kernel keeps on the way; its own default is 12
)

func main() {
	folder := flag.String("folder", "", "the folder to serve, and to mount over")
	control := flag.String("control", "", "path of the control socket to make")
	expire := flag.Duration("expire", 30*time.Second, "age at which unsynced data is safe all the same, as with vm.dirty_expire_centisecs")
	flag.Parse()
	if err := run(*folder, *control, *expire); err != nil {
		fmt.Println(err) // where "ready" is waited for
		os.Exit(1)
	}
}

func run(folder, control string, expire time.Duration) error {
	backing, err := syscall.Open(folder, syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0) // for as long as we live
	if err != nil {
		return err
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(backing, &stat); err != nil {
		return err
	}
	disk := newDisk(expire)
	data := &fs.LoopbackRoot{Path: fmt.Sprintf("/proc/self/fd/%d", backing), Dev: uint64(stat.Dev)}
	data.NewNode = func(root *fs.LoopbackRoot, _ *fs.Inode, _ string, _ *syscall.Stat_t) fs.InodeEmbedder {
		return &node{LoopbackNode: fs.LoopbackNode{RootData: root}, disk: disk}
	}
	root := &node{LoopbackNode: fs.LoopbackNode{RootData: data}, disk: disk}
	data.RootNode = root
	// The name of a socket has at most 107 bytes (unix(7)); that of the folder may be longer.
	if err := os.Chdir(filepath.Dir(control)); err != nil {
		return err
	}
	listener, err := net.Listen("unix", filepath.Base(control))
	if err != nil {
		return err
	}
	server, err := fs.Mount(folder, root, options())
	if err != nil {
		return err
	}
	disk.forget = func() { forget(root.EmbeddedInode()) }
	go answer(listener, disk)
	go func() {
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
		<-asked
		if err := server.Unmount(); err != nil {
			os.Exit(1) // still used: the mount goes with the connection
		}
	}()
	fmt.Println("ready")
	server.Wait()
	return nil
}

func options() *fs.Options {
	long := time.Duration(cached)
	return &fs.Options{
		AttrTimeout:  &long,
		EntryTimeout: &long,
		MountOptions: fuse.MountOptions{
			AllowOther:        true,
			DirectMountStrict: true,
			FsName:            "chaosgate",
			Name:              "chaosgate",
			MaxBackground:     inQueue,
			MaxWrite:          1 << 20,
			DisableXAttrs:     true,
			EnableLocks:       true,
		},
	}
}

// answer serves the control socket, one line each: {"op": "add", "name", "fault", "seed"}, {"op": "remove", "name"},
// {"op": "off"}: the power goes, {"op": "on"}, {"op": "state"}; every answer is the state.
func answer(listener net.Listener, disk *disk) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			requests, answers := json.NewDecoder(connection), json.NewEncoder(connection)
			for {
				var asked request
				if err := requests.Decode(&asked); err != nil {
					return
				}
				if err := answers.Encode(disk.carryOut(asked)); err != nil {
					return
				}
			}
		}()
	}
}
