package node

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

const spoolChildEnv = "ROTA_TEST_SPOOL"

// spoolChild writes to a spool until it is killed, and says on its output what has returned.
func spoolChild(dir string) {
	s, err := openSpool(dir)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	for n := 0; n < 999_000; n++ {
		rec := testRecord(n)
		if err := s.begin(&rec); err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("begun", rec.ID)
		if n%3 == 0 {
			continue
		}
		if err := s.end(&rec); err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("ended", rec.ID)
		if n%4 == 0 {
			if err := s.ack([]string{rec.ID}); err != nil {
				fmt.Println("error", err)
				return
			}
			fmt.Println("acked", rec.ID)
		}
		if n%200 == 199 { // many segments
			s.mu.Lock()
			s.rotateAt = 0
			s.mu.Unlock()
		}
	}
}

// kill -9 at any moment loses nothing of what has returned.
func TestSpoolKilled(t *testing.T) {
	t.Parallel()
	for _, lines := range []int{1, 50, 3000} {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), spoolChildEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		said := map[string]string{}
		scan := bufio.NewScanner(out)
		for n := 0; scan.Scan(); n++ { // to the end of what it said before it died
			what, id, _ := strings.Cut(scan.Text(), " ")
			if what == "error" {
				t.Fatal(id)
			}
			said[id] = what
			if n == lines {
				must(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait()
		s := openTestSpool(t, dir)
		m := s.remembers()
		pending := map[string]bool{}
		for _, id := range m.pending {
			pending[id] = true
			if what := said[id]; what == "acked" {
				t.Fatalf("%s comes again", id)
			}
		}
		unsaid := 0
		for id, what := range said {
			_, open := m.open[runID(id)]
			if what == "begun" && !open && !pending[id] || what == "ended" && !pending[id] && id != lastSaid(said) {
				t.Errorf("%s was %s, and is forgotten", id, what)
			}
		}
		for id := range m.open {
			if said[string(id)] == "" {
				unsaid++
			}
		}
		for id := range pending {
			if said[id] == "" {
				unsaid++
			}
		}
		if unsaid > 1 {
			t.Errorf("%d runs are invented", unsaid)
		}
	}
}

func runID(id string) job.RunID { return job.RunID(id) }

// lastSaid is the run of which the child spoke last: what it did after that, it could not say.
func lastSaid(said map[string]string) (last string) {
	for id := range said {
		last = max(last, id)
	}
	return last
}
