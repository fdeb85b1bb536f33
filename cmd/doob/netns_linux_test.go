package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/fleet"
)

// A trainer with its server and a worker are in network namespaces of their own, with a switch in between. The worker's line is cut for 10 s in the middle
// of a run, so that what is sent is lost and no one is told: the run has the bytes of one that was alone, and the worker works on once it is whole.
// It takes root, and DOOB_NETNS=1.
func TestWorkerCutOff(t *testing.T) {
	if os.Getenv("DOOB_NETNS") == "" || os.Getuid() != 0 {
		t.Skip("makes network namespaces: wants root and DOOB_NETNS=1")
	}
	run := []string{"run", "toy", "--json", "--config", "../../experiment/testdata/tiny.yaml", "--set", "importance.paths=400",
		"--set", "methods=[base, reward_only, importance]", "--set", "importance.iterations=300"}
	dir := t.TempDir()
	whole, cut := filepath.Join(dir, "whole"), filepath.Join(dir, "cut")
	execute(t, dir, append(run, "--out", whole)...)

	n := newNetwork(t)
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	trainer, complaint := n.start(t, dir, n.here, append(run, "--out", cut, "--serve-workers", "10.77.0.1:4222", "--token-file", token)...)
	worker, _ := n.start(t, dir, n.there, "worker", "nats://10.77.0.1:4222", "--token-file", token)
	defer worker.Process.Kill()
	answered := func() (tasks int) {
		text, _ := exec.Command("ip", "netns", "exec", n.here, "doob", "status", "nats://10.77.0.1:4222", "--json", "--token-file", token).Output()
		var s fleet.Status
		json.Unmarshal(text, &s) // there may be none yet
		for _, w := range s.Workers {
			if w.Name != "trainer" {
				tasks += w.Tasks
			}
		}
		return tasks
	}
	wait := func(least int) int {
		for range 300 {
			if now := answered(); now >= least {
				return now
			}
			time.Sleep(200 * time.Millisecond)
		}
		t.Fatalf("the worker has answered %d tasks, want %d; if the run is over, it wants more iterations", answered(), least)
		return 0
	}
	wait(5)
	n.line(t, "down")
	time.Sleep(time.Second) // what was on its way arrives
	before := answered()
	time.Sleep(9 * time.Second)
	if now := answered(); now != before {
		t.Fatalf("the worker has answered %d tasks with its line cut", now-before)
	}
	n.line(t, "up")
	start := time.Now()
	wait(before + 5)
	t.Logf("%d tasks before the line was cut, back after %.1f s", before, time.Since(start).Seconds())
	if err := trainer.Wait(); err != nil {
		t.Fatalf("%v: %s", err, complaint)
	}
	wantSame(t, whole, cut, nil)
}

// network is two namespaces with a switch in a third.
type network struct{ here, between, there string }

func newNetwork(t *testing.T) *network {
	t.Helper()
	name := func(s string) string { return fmt.Sprintf("doob-%d-%s", os.Getpid(), s) }
	n := &network{name("here"), name("between"), name("there")}
	for _, ns := range []string{n.here, n.between, n.there} {
		ip(t, "netns add "+ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
		ip(t, "-n "+ns+" link set lo up")
	}
	ip(t, "-n "+n.between+" link add bridge type bridge")
	ip(t, "-n "+n.between+" link set bridge up")
	for i, ns := range []string{n.here, n.there} {
		port := fmt.Sprint("port", i+1)
		ip(t, "-n "+n.between+" link add "+port+" type veth peer name eth0 netns "+ns)
		ip(t, "-n "+n.between+" link set "+port+" master bridge up")
		ip(t, fmt.Sprintf("-n %s addr add 10.77.0.%d/24 dev eth0", ns, i+1))
		ip(t, "-n "+ns+" link set eth0 up")
	}
	return n
}

// line cuts the worker's line, or mends it.
func (n *network) line(t *testing.T, state string) {
	t.Helper()
	ip(t, "-n "+n.between+" link set port2 "+state)
}

func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// start starts doob in a namespace. What it complains of is whole when it has ended.
func (n *network) start(t *testing.T, dir, ns string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", ns, "doob"}, args...)...)
	complaint := &bytes.Buffer{}
	cmd.Env, cmd.Stderr = append(os.Environ(), "DOOB_DATA="+filepath.Join(dir, "data-"+ns)), complaint
	t.Cleanup(end)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, complaint
}
