package main

import (
	"os"
	"time"

	tsa "github.com/sigstore/timestamp-authority/v2/pkg/server"
	"github.com/spf13/viper"
)

// serveTimestamps serves an RFC 3161 authority at http://HOST:PORT/api/v1/timestamp. Its own program would listen on
// *:2112 for metrics as well, whatever it is told.
func serveTimestamps(host string, port int) {
	const policy = "1.3.6.1.4.1.57264.2"
	for name, value := range map[string]any{
		"timestamp-signer": "memory", "timestamp-signer-hash": "sha256",
		"default-policy-oid": policy, "accepted-policy-oids": []string{policy},
		"max-request-body-size": 1 << 20, "enforce-intermediate-eku": true,
	} {
		viper.Set(name, value)
	}
	check(tsa.NewRestAPIServer(host, port, []string{"http"}, false, 30*time.Second, 30*time.Second).Serve())
	os.Exit(0) // It has taken SIGTERM for itself.
}
