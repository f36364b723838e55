// drive fills a test cluster, starts webhooks in it, asks them, and prints what it measured as JSON. It is run inside the
// cluster, by benches/admission.
//
//	drive fill STAGE
//	drive memory OURS
//	drive start OURS
//	drive compare OURS NOOP
//	drive dry-run OURS NOOP
//
// Ours is a command with its arguments, in one word, separated by spaces.
package main

import (
	"flag"
	"net/http"
	"strings"
	"time"
)

const (
	ourAddress    = "127.0.0.1:9443"
	healthAddress = "127.0.0.1:9480"
	noopAddress   = "127.0.0.1:9444"
)

func main() {
	var size scale
	flag.IntVar(&size.namespaces, "namespaces", 50, "how many namespaces there are")
	flag.IntVar(&size.claims, "claims", 40, "how many claims each has, with a record each")
	flag.IntVar(&size.pods, "pods", 200, "how many Pods each has")
	flag.IntVar(&size.policies, "policies", 50, "how many policies there are")
	certificate := flag.String("tls-cert", "tls.crt", "the serving certificate, which is its own authority")
	seconds := flag.Float64("seconds", 5, "how long each run lasts")
	rounds := flag.Int("rounds", 3, "how many runs of each kind there are")
	flag.Parse()
	words := flag.Args()
	lasting := time.Duration(*seconds * float64(time.Second))
	ours := newTarget(ourAddress, *certificate, true)
	switch {
	case len(words) == 2 && words[0] == "fill":
		fill(connect(), size, words[1])
	case len(words) == 2 && words[0] == "memory":
		print(memory(strings.Fields(words[1])))
	case len(words) == 2 && words[0] == "start":
		print(starts(ours, size, strings.Fields(words[1]), *rounds))
	case len(words) == 3 && words[0] == "compare":
		noop := newTarget(noopAddress, *certificate, false)
		print(compare(ours, noop, size, strings.Fields(words[1]), strings.Fields(words[2]), lasting, *rounds))
	case len(words) == 3 && words[0] == "dry-run":
		print(dryRun(ours, size, strings.Fields(words[1]), strings.Fields(words[2]), *certificate, *rounds))
	default:
		fail("usage: drive [FLAGS] fill STAGE | memory OURS | start OURS | compare OURS NOOP | dry-run OURS NOOP")
	}
}

// startFigures are those of one start.
type startFigures struct {
	FirstAnswers float64 `json:"first_answers_s"`
	ResidentKiB  int     `json:"resident_kib"`
	PeakKiB      int     `json:"peak_kib"`
}

// memory is what ours takes of its own (not of its program's file) once it is ready, in KiB, whatever there is in the
// cluster.
func memory(words []string) int {
	ours := start("ours.log", words...)
	defer ours.stop()
	deadline := time.Now().Add(patience)
	for {
		answer, err := http.Get("http://" + healthAddress + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return ours.status("RssAnon:")
			}
		}
		if time.Now().After(deadline) {
			fail("ours is not ready after %s", patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// starts ours so many times, and waits for its first right answers.
func starts(t target, size scale, words []string, rounds int) (all []startFigures) {
	for range rounds {
		ours := start("ours.log", words...)
		took := ours.ready(t, size)
		all = append(all, startFigures{took.Seconds(), ours.status("VmRSS:"), ours.status("VmHWM:")})
		ours.stop()
	}
	return all
}

type compared struct {
	Ours, Noop  map[string][]figures
	ResidentKiB int `json:"resident_kib"`
	PeakKiB     int `json:"peak_kib"`
	NoopKiB     int `json:"noop_kib"`
	ReviewBytes int `json:"review_bytes"`
}

// compare asks both in turns, so that whatever else the machine does hits both.
func compare(t, noop target, size scale, words, noopWords []string, lasting time.Duration, rounds int) compared {
	ours, other := start("ours.log", words...), start("noop.log", noopWords...)
	defer ours.stop()
	defer other.stop()
	all := newReviews(size)
	ours.ready(t, size)
	other.firstAnswers(noop, all[0], all[0])
	found := compared{Ours: map[string][]figures{}, Noop: map[string][]figures{}, ReviewBytes: len(all[0].text)}
	for _, it := range []struct {
		name        string
		connections int
	}{{"1", 1}, {"32", 32}} {
		for round := range rounds + 1 {
			mine := load(t, ours, judgePath, all, it.connections, lasting)
			theirs := load(noop, other, judgePath, all, it.connections, lasting)
			if round > 0 { // the first is to warm up
				found.Ours[it.name], found.Noop[it.name] = append(found.Ours[it.name], mine), append(found.Noop[it.name], theirs)
			}
		}
	}
	found.Ours["gates"] = []figures{load(t, ours, gatePath, all, 32, lasting)}
	found.ResidentKiB, found.PeakKiB = ours.status("VmRSS:"), ours.status("VmHWM:")
	found.NoopKiB = other.status("VmRSS:")
	return found
}

type dryRunFigures struct {
	Without float64 `json:"without_ms"`
	Noop    float64 `json:"noop_ms"`
	Ours    float64 `json:"ours_ms"`
}

func dryRun(t target, size scale, words, noopWords []string, certificate string, count int) dryRunFigures {
	ours, other := start("ours.log", words...), start("noop.log", noopWords...)
	defer ours.stop()
	defer other.stop()
	ours.ready(t, size)
	c := connect()
	elsewhere := []string{"kube-system", ourNamespace, unwatched, noopSpace}
	register(c, "noop", noopAddress, certificate, object{"operator": "In", "values": []string{noopSpace}})
	register(c, "weighbridge", t.address, certificate, object{"operator": "NotIn", "values": elsewhere})
	waitForWebhooks(c)
	return dryRuns(c, count)
}

// ready waits for the first right answers.
func (s *server) ready(t target, size scale) time.Duration {
	good := newReview(namespace(0), "good", claim(0), true)
	bad := newReview(namespace(0), "bad", claim(refusedEvery-1), false)
	return s.firstAnswers(t, good, bad)
}
