// Command registry is a container registry over plain HTTP, with the referrers API of OCI 1.1.
//
// Manifests live in memory and go with the process; blobs, which may be models, go to a folder.
package main

import (
	"flag"
	"log"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	address := flag.String("address", "127.0.0.1:5000", "address to listen on")
	blobs := flag.String("blobs", "", "folder for the blobs")
	referrers := flag.Bool("referrers", true, "serve the referrers API; without it clients fall back to tags")
	flag.Parse()
	if *blobs == "" {
		log.Fatal("--blobs is needed")
	}
	if err := os.MkdirAll(*blobs, 0o700); err != nil {
		log.Fatal(err)
	}
	// The handler logs every request, which lets a test see who asked for what.
	log.Fatal(http.ListenAndServe(*address, registry.New(
		registry.WithBlobHandler(registry.NewDiskBlobHandler(*blobs)),
		registry.WithReferrersSupport(*referrers),
	)))
}
