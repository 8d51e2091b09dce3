// An object store that speaks S3 and keeps its objects as files below one folder: a checkpoint store on a node of its
// own, whose network can be shaped and whose files can be made slow.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

const connections = 1024

func main() {
	listen := flag.String("listen", "", "host:port")
	folder := flag.String("folder", "", "where objects are kept, a folder for each bucket")
	about := flag.String("about", "", "where what is known of each object is kept, beside the folder")
	flag.Parse()
	sidecar, err := meta.NewSideCar(*about)
	if err != nil {
		log.Fatal(err)
	}
	backend, err := posix.New(*folder, sidecar, posix.PosixOpts{SideCarDir: *about})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	config := &embedgw.Config{
		RootUserAccess:    os.Getenv("ROOT_ACCESS_KEY"),
		RootUserSecret:    os.Getenv("ROOT_SECRET_KEY"),
		Ports:             []string{*listen},
		MaxConnections:    connections,
		MaxRequests:       connections,
		MultipartMaxParts: 10000,
		KeepAlive:         true,
	}
	if err := embedgw.RunVersityGW(ctx, backend, config); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}
