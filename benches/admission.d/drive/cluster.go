package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Where the API server of a test cluster answers, inside.
const apiServer = "https://127.0.0.1:6443"

// How many requests the cluster is filled with at a time.
const writers = 24

type object = map[string]any

// cluster is the API server, as an administrator sees it.
type cluster struct{ http *http.Client }

func connect() *cluster {
	pki := filepath.Join(os.Getenv("WEIGHBRIDGE_E2E_CLUSTER_RUN"), "pki")
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	check(err, "the administrator's certificate; is this run by e2e/cluster/enter?")
	authority, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	check(err, "the cluster's authority")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots},
		MaxIdleConnsPerHost: writers,
	}
	return &cluster{http: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// call makes a request; body may be nil. It gives the answer's code and body.
func (c *cluster) call(method, path, kind string, body any) (int, []byte) {
	text, err := json.Marshal(body)
	check(err, path)
	request, err := http.NewRequest(method, apiServer+path, bytes.NewReader(text))
	check(err, path)
	request.Header.Set("Content-Type", kind)
	answer, err := c.http.Do(request)
	check(err, path)
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	check(err, path)
	return answer.StatusCode, said
}

// create makes an object and gives it back as it was stored; one that is there already stays as it is.
func (c *cluster) create(path string, it object) object {
	code, said := c.call("POST", path, "application/json", it)
	if code == http.StatusConflict {
		return c.get(path + "/" + it["metadata"].(object)["name"].(string))
	}
	return stored(path, code, said)
}

func (c *cluster) get(path string) object {
	code, said := c.call("GET", path, "application/json", nil)
	return stored(path, code, said)
}

func (c *cluster) patch(path string, it object) object {
	code, said := c.call("PATCH", path, "application/merge-patch+json", it)
	return stored(path, code, said)
}

func stored(path string, code int, said []byte) object {
	if code >= 300 {
		fail("%s: %d %s", path, code, said)
	}
	var it object
	check(json.Unmarshal(said, &it), path)
	return it
}

func uid(it object) string { return it["metadata"].(object)["uid"].(string) }

// each does something for all numbers below n, several at a time.
func each(n int, do func(int)) {
	next := make(chan int)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for at := range next {
				do(at)
			}
		})
	}
	for at := range n {
		next <- at
	}
	close(next)
	all.Wait()
}

func check(err error, about string) {
	if err != nil {
		fail("%s: %v", about, err)
	}
}

// fail ends everything, the servers included.
func fail(format string, values ...any) {
	for _, it := range running {
		it.command.Process.Kill()
	}
	fmt.Fprintf(os.Stderr, "drive: "+format+"\n", values...)
	os.Exit(1)
}
