package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// target is a webhook that is asked.
type target struct {
	address string
	config  *tls.Config
	// Whether it looks at what it is asked about. The no-op allows everything.
	judges bool
}

func newTarget(address, certificate string, judges bool) target {
	text, err := os.ReadFile(certificate)
	check(err, "the serving certificate")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	// What an API server speaks to webhooks.
	config := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"}}
	return target{address, config, judges}
}

// connection is one that is kept, as an API server keeps it.
type connection struct {
	tls    *tls.Conn
	answer *bufio.Reader
	text   []byte
	// The answer to the last review.
	said []byte
}

func (t target) connect() (*connection, error) {
	stream, err := tls.Dial("tcp", t.address, t.config)
	if err != nil {
		return nil, err
	}
	return &connection{tls: stream, answer: bufio.NewReaderSize(stream, 16<<10)}, nil
}

// ask sends a review and says whether it was allowed. An answer that is none is an error.
func (c *connection) ask(path string, review *review) (allowed bool, err error) {
	uid := review.fresh()
	head := "POST %s?timeout=5s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: kube-apiserver-admission\r\n" +
		"Content-Length: %d\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
	c.text = append(fmt.Appendf(c.text[:0], head, path, len(review.text)), review.text...)
	if _, err := c.tls.Write(c.text); err != nil {
		return false, err
	}
	answer, err := http.ReadResponse(c.answer, nil)
	if err != nil {
		return false, err
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	c.said = body
	switch {
	case err != nil:
		return false, err
	case answer.StatusCode != http.StatusOK:
		return false, fmt.Errorf("%s: %s", answer.Status, body)
	case !bytes.Contains(body, uid):
		return false, fmt.Errorf("an answer to another review: %s", body)
	case bytes.Contains(body, []byte(`"allowed":true`)):
		return true, nil
	case bytes.Contains(body, []byte(`"allowed":false`)):
		return false, nil
	}
	return false, fmt.Errorf("no answer: %s", body)
}

// figures of one run.
type figures struct {
	Reviews   int     `json:"reviews"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	P999      float64 `json:"p999_ms"`
	CPU       float64 `json:"cpu_s_per_1000"`
}

// load asks for so long over so many connections at once, each waiting for its answer, and checks every answer.
func load(t target, server *server, path string, all []review, connections int, lasting time.Duration) figures {
	times := make([][]time.Duration, connections)
	open := make([]*connection, connections)
	for at := range open {
		var err error
		open[at], err = t.connect()
		check(err, t.address)
	}
	used, began := server.cpu(), time.Now()
	var running sync.WaitGroup
	for at, connection := range open {
		running.Go(func() {
			// All reviews over all connections, and so many over each that allowed and refused ones are among them.
			mine := make([]review, max(len(all)/connections, 2*refusedEvery))
			for next := range mine {
				mine[next] = all[(at*len(mine)+next)%len(all)].clone()
			}
			for next := 0; time.Since(began) < lasting; next = (next + 1) % len(mine) {
				sent := time.Now()
				allowed, err := connection.ask(path, &mine[next])
				check(err, t.address)
				times[at] = append(times[at], time.Since(sent))
				if want := mine[next].allowed || !t.judges || path == gatePath; allowed != want {
					fail("%s answered %s where %t is right: %s", t.address, connection.said, want, mine[next].text)
				}
			}
		})
	}
	running.Wait()
	took, cpu := time.Since(began), server.cpu()-used
	for _, connection := range open {
		connection.tls.Close()
	}
	sorted := slices.Concat(times...)
	slices.Sort(sorted)
	count := len(sorted)
	quantile := func(of int) float64 { return sorted[min(count*of/1000, count-1)].Seconds() * 1000 }
	return figures{
		Reviews: count, PerSecond: float64(count) / took.Seconds(), CPU: cpu.Seconds() / float64(count) * 1000,
		P50: quantile(500), P99: quantile(990), P999: quantile(999),
	}
}
