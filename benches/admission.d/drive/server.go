package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

const (
	// Where reviews are judged, and where new Pods are gated.
	judgePath = "/validate"
	gatePath  = "/mutate"
	// How long a server may take to its first right answer before nothing more is waited for.
	patience = 30 * time.Second
	// How often a process's use of the processor is counted: USER_HZ, which is 100 on every Linux.
	ticksPerSecond = 100
)

// server is a webhook's process.
type server struct {
	command *exec.Cmd
	began   time.Time
}

// running are all that were started.
var running []*server

func start(log string, words ...string) *server {
	file, err := os.Create(log)
	check(err, log)
	command := exec.Command(words[0], words[1:]...)
	command.Stdout, command.Stderr = file, file
	began := time.Now()
	check(command.Start(), words[0])
	it := &server{command, began}
	running = append(running, it)
	return it
}

func (s *server) stop() {
	s.command.Process.Kill()
	s.command.Wait()
}

// cpu is what it has used of the processors, in user and system mode.
func (s *server) cpu() time.Duration {
	text := s.proc("stat")
	// The name, in parentheses, may itself hold spaces; 14 and 15 are utime and stime.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+2:])
	ticks := 0
	for _, field := range fields[11:13] {
		count, err := strconv.Atoi(string(field))
		check(err, "stat")
		ticks += count
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// status is one of the figures that the system has of its memory, in KiB: resident (VmRSS), at its most (VmHWM).
func (s *server) status(name string) (kib int) {
	for line := range bytes.Lines(s.proc("status")) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == name {
			kib, _ = strconv.Atoi(string(fields[1]))
		}
	}
	return kib
}

func (s *server) proc(file string) []byte {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.command.Process.Pid, file))
	check(err, "the server has ended")
	return text
}

// firstAnswers asks from the start on until both questions have their right answer, and says how long that took. Not to
// be there, to close the connection and an HTTP error say that it is not ready. Any other wrong answer is the end.
func (s *server) firstAnswers(t target, good, bad review) time.Duration {
	for {
		if right := s.tryAnswers(t, good, bad); right {
			return time.Since(s.began)
		}
		if time.Since(s.began) > patience {
			fail("%s: no answer after %s", t.address, patience)
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *server) tryAnswers(t target, good, bad review) bool {
	connection, err := t.connect()
	if err != nil {
		return false
	}
	defer connection.tls.Close()
	for _, it := range []review{bad, good} {
		allowed, err := connection.ask(judgePath, &it)
		if err != nil {
			return false
		}
		if want := it.allowed || !t.judges; allowed != want {
			fail("%s: after %s it answered %s where %t is right", t.address, time.Since(s.began), connection.said, want)
		}
	}
	return true
}
