package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rota-dev/rota/client"
)

// maxEach is how much a list of values may have.
const maxEach = 64 << 20

// eachFlags run a task once for each of many sets of values.
type eachFlags struct {
	source   string // [NAME=]FILE
	parallel int
}

var eachParam = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// read reads the list: lines that are each the value of the parameter that is named, or JSON objects of names and values. common are values
// of all of them.
func (f *eachFlags) read(c *cli, common map[string]string, key string) ([]client.ListedRun, error) {
	name, path, named := strings.Cut(f.source, "=")
	if named = named && eachParam.MatchString(name); !named {
		name, path = "", f.source
	}
	var in io.Reader = c.In
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, &usageError{err: fmt.Errorf("--each: %w", err)}
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, maxEach+1))
	if err != nil {
		return nil, fmt.Errorf("--each %s: %w", f.source, err)
	}
	if len(data) > maxEach {
		return nil, usagef("ask for it in parts", "--each %s: there are more than %d MiB", f.source, maxEach>>20)
	}
	var list []client.ListedRun
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxEach+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		r := client.ListedRun{Params: maps.Clone(common)}
		if named {
			r.Params[name] = line
		} else if err := addValues(r.Params, line); err != nil {
			return nil, usagef(`write one JSON object a line, such as {"DAY": "2026-11-01"}, or name a parameter that each line is the value of: --each DAY=FILE`,
				"--each %s: line %d: %v", f.source, n, err)
		}
		if key != "" {
			r.Key = key + "/" + strconv.Itoa(n)
		}
		list = append(list, r)
	}
	if len(list) == 0 {
		return nil, usagef("", "--each %s: there is nothing in it", f.source)
	}
	return list, lines.Err()
}

// addValues reads a JSON object of values without structure.
func addValues(params map[string]string, line string) error {
	var values map[string]any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&values); err != nil {
		return fmt.Errorf("it is no JSON object: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something follows its JSON object")
	}
	for k, v := range values {
		switch v := v.(type) {
		case string:
			params[k] = v
		case json.Number:
			params[k] = v.String()
		case bool:
			params[k] = strconv.FormatBool(v)
		default:
			return fmt.Errorf("%s is no string, number or truth value", k)
		}
	}
	return nil
}

// chunk is how many of a list one request asks for, and eachBytes how much of it.
const (
	eachChunk = 500
	eachBytes = 512 << 10
)

// run asks for the runs of the list and, with wait, waits for their end. The task has been named in r.
func (f *eachFlags) run(ctx context.Context, c *cli, r client.RunRequest, wait bool, limit time.Duration, out format) error {
	if f.parallel < 0 {
		return usagef("", "--parallel %d is negative", f.parallel)
	}
	list, err := f.read(c, r.Params, r.Key)
	if err != nil {
		return err
	}
	w := &waiting{cli: c, out: out, limit: limit}
	if w.cl, err = c.client(); err != nil {
		return err
	}
	all := client.RunListAnswer{Answers: make([]client.RunAnswer, 0, len(list))}
	for done := 0; done < len(list); {
		n, size := 0, 0
		for n < min(eachChunk, len(list)-done) && (n == 0 || size < eachBytes) {
			for k, v := range list[done+n].Params {
				size += len(k) + len(v)
			}
			n++
		}
		a, err := w.cl.RunList(ctx, client.RunListRequest{Task: r.Task, Nodes: r.Nodes, Each: list[done : done+n], Parallel: f.parallel})
		if err != nil {
			if done > 0 {
				c.sayf("the first %d of %d are asked for", done, len(list))
			}
			return err
		}
		all.Answers = append(all.Answers, a.Answers...)
		for i := range a.Answers {
			for _, h := range a.Answers[i].Runs {
				w.runs = append(w.runs, h.Run)
				if out != asJSON && out != asYAML && !wait {
					fmt.Fprintln(c.Out, h.Run)
				}
			}
		}
		done += n
	}
	nots := map[string]int{}
	for i := range all.Answers {
		for _, n := range all.Answers[i].NotRun {
			nots[fmt.Sprintf("not on %s: %s", n.Node, n.Reason)]++
		}
	}
	for _, why := range slices.Sorted(maps.Keys(nots)) {
		c.sayf("%s", why)
	}
	c.sayf("%d runs of %s are asked for; see them: rota get runs %s", len(w.runs), r.Task, r.Task)
	if !wait {
		_, err := c.encode(out, all)
		return err
	}
	return w.wait(ctx)
}
