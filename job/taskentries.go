package job

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// object decodes a mapping into a struct.
func (d *decoder) object(v reflect.Value, n *yaml.Node, path string) {
	fields := fieldsOf(v.Type())
	d.entries(n, path, func(key, value *yaml.Node, at string) {
		i := slices.Index(fields, key.Value)
		if i < 0 {
			hint := didYouMean(key.Value, fields)
			if hint == "" {
				hint = "the fields are " + strings.Join(fields, ", ")
			}
			d.fail(key, at, hint, "unknown field %q", key.Value)
			return
		}
		if !isNull(value) {
			d.value(v.Field(i), value, at)
		}
	})
}

// fieldsOf are the names of a struct's fields on the wire, in their order.
func fieldsOf(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("json"), ",")
	}
	return names
}

// table decodes a mapping of texts.
func (d *decoder) table(v reflect.Value, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "write NAME: value", "found %s, want names with values", found(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	d.entries(n, path, func(key, value *yaml.Node, at string) {
		e := reflect.New(v.Type().Elem()).Elem()
		d.item(e, value, at)
		v.SetMapIndex(reflect.ValueOf(key.Value), e)
	})
}

// entries gives the entries of a mapping: its own, then those that it merges in and does not have itself.
func (d *decoder) entries(n *yaml.Node, path string, use func(key, value *yaml.Node, at string)) {
	d.merged(n, path, map[string]*yaml.Node{}, use)
}

func (d *decoder) merged(n *yaml.Node, path string, have map[string]*yaml.Node, use func(key, value *yaml.Node, at string)) {
	own := map[string]*yaml.Node{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		for key.Kind == yaml.AliasNode && key.Alias != nil {
			key = key.Alias
		}
		switch {
		case key.Tag == "!!merge":
			merges = append(merges, value)
		case key.Kind != yaml.ScalarNode:
			d.fail(key, path, d.braces(n), "found %s, want a name", found(key))
		case d.duplicate(own, key, path):
		case have[key.Value] == nil:
			at := strings.TrimPrefix(path+entry(key.Value), ".")
			d.keys[at] = key
			use(key, value, at)
		}
	}
	for k, v := range own {
		if have[k] == nil {
			have[k] = v
		}
	}
	for _, m := range merges {
		d.merge(m, path, have, use)
	}
}

func (d *decoder) merge(m *yaml.Node, path string, have map[string]*yaml.Node, use func(key, value *yaml.Node, at string)) {
	n := d.enter(m, path+"<<")
	if n == nil {
		return
	}
	defer d.leave()
	switch n.Kind {
	case yaml.MappingNode:
		d.merged(n, path, have, use)
	case yaml.SequenceNode:
		for _, item := range n.Content {
			d.merge(item, path, have, use)
		}
	default:
		d.fail(m, path, "", "<<: found %s, want an object to merge", found(n))
	}
}

// duplicate notes a key that stands twice in one mapping.
func (d *decoder) duplicate(seen map[string]*yaml.Node, key *yaml.Node, path string) bool {
	first, ok := seen[key.Value]
	if !ok {
		seen[key.Value] = key
		return false
	}
	d.fail(key, strings.TrimPrefix(path+entry(key.Value), "."), "remove one", "%q stands here a second time; the first is at line %d", key.Value, first.Line)
	return true
}
