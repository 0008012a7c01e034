package job

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// document turns a tree of YAML into what JSON has: texts, numbers as they are written, true, false, null, lists and objects.
func (d *decoder) document(n *yaml.Node, path string) any {
	if n = d.enter(n, path); n == nil {
		return nil
	}
	defer d.leave()
	switch n.Kind {
	case yaml.MappingNode:
		object := map[string]any{}
		d.entries(n, path, func(key, value *yaml.Node, at string) { object[key.Value] = d.document(value, at) })
		return object
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = d.document(item, fmt.Sprintf("%s[%d]", path, i))
		}
		return list
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			d.fail(n, path, "", "found %s, want true or false", found(n))
		}
		return b
	case "!!int", "!!float":
		return d.number(n, path)
	case "!!binary":
		d.fail(n, path, "leave the tag out", "tag %s is not known", n.Tag)
	}
	return n.Value // of a date, too, the text as it is written
}

// number keeps a number as it is written, so that no digit is lost, if JSON writes it so too.
func (d *decoder) number(n *yaml.Node, path string) any {
	if json.Valid([]byte(n.Value)) {
		return json.Number(n.Value)
	}
	if i, err := strconv.ParseInt(n.Value, 0, 64); err == nil && n.Tag == "!!int" {
		return i
	}
	x, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || math.IsInf(x, 0) || math.IsNaN(x) {
		d.fail(n, path, `put it in quotes for a text`, "JSON can't write the number %s", n.Value)
		return nil
	}
	return x
}
