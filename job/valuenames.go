package job

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// nodeChecker walks the tree of an expression, collects its names and refuses everything that is not
// known to be harmless.
type nodeChecker struct {
	src    string
	off    int // where src begins in its template
	names  []valueName
	faults []FieldError
}

func (c *nodeChecker) at(n ast.Node) int { return c.off + byteOffset(c.src, n.Location().From) }

func (c *nodeChecker) fail(n ast.Node, hint, format string, args ...any) {
	c.faults = append(c.faults, FieldError{Message: fmt.Sprintf(format, args...), Hint: hint, at: place{off: c.at(n)}})
}

// check looks at a node and at what is below it. Optional says that the node stands before ??.
func (c *nodeChecker) check(n ast.Node, optional bool) {
	switch n := n.(type) {
	case *ast.NilNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.StringNode:
	case *ast.IdentifierNode, *ast.MemberNode:
		c.name(n, optional)
	case *ast.ChainNode:
		c.check(n.Node, optional)
	case *ast.UnaryNode:
		c.check(n.Node, false)
	case *ast.BinaryNode:
		c.binary(n, optional)
	case *ast.ConditionalNode:
		c.all(n.Cond, n.Exp1, n.Exp2)
	case *ast.SliceNode:
		c.all(n.Node, n.From, n.To)
	case *ast.ArrayNode:
		c.all(n.Nodes...)
	case *ast.MapNode:
		c.all(n.Pairs...)
	case *ast.PairNode:
		c.all(n.Key, n.Value)
	case *ast.BuiltinNode:
		c.function(n, n.Name)
		c.all(n.Arguments...)
	case *ast.CallNode:
		c.call(n)
	default:
		c.fail(n, "", "values have no loops and no names of their own")
	}
}

func (c *nodeChecker) all(nodes ...ast.Node) {
	for _, n := range nodes {
		if n != nil {
			c.check(n, false)
		}
	}
}

func (c *nodeChecker) binary(n *ast.BinaryNode, optional bool) {
	switch n.Operator {
	case "..":
		c.fail(n, "", "values have no ranges")
		return
	case "matches":
		if _, ok := n.Right.(*ast.StringNode); !ok {
			c.fail(n.Right, "", "the pattern of matches must be written out")
		}
	}
	c.check(n.Left, n.Operator == "??")
	c.check(n.Right, n.Operator == "??" && optional)
}

func (c *nodeChecker) function(n ast.Node, name string) {
	if names := functionNames(); !slices.Contains(names, name) {
		hint := didYouMean(name, names)
		if hint == "" {
			hint = "there are " + strings.Join(names, ", ")
		}
		c.fail(n, hint, "unknown function %q", name)
	}
}

func (c *nodeChecker) call(n *ast.CallNode) {
	switch callee := n.Callee.(type) {
	case *ast.IdentifierNode:
		c.function(callee, callee.Value)
	case *ast.MemberNode:
		method, _ := callee.Property.(*ast.StringNode)
		if method == nil || !slices.Contains(dateMethods, method.Value) {
			c.fail(callee, "dates have "+strings.Join(dateMethods, ", "), "unknown method")
			return
		}
		c.check(callee.Node, false)
	default:
		c.fail(n, "", "this is no function")
	}
	c.all(n.Arguments...)
}

// name checks a name, or an element of a list.
func (c *nodeChecker) name(n ast.Node, optional bool) {
	path, root := flatten(n)
	if root == nil {
		m := n.(*ast.MemberNode)
		c.all(m.Node, m.Property)
		return
	}
	if slices.Contains(path, "") && (path[0] == "steps" || path[0] == "item") { // the rest is an index, or is reckoned
		if m, ok := n.(*ast.MemberNode); ok && len(path) > 1 {
			if _, plain := m.Property.(*ast.StringNode); !plain {
				c.check(m.Property, false)
			}
			c.check(m.Node, optional)
			return
		}
	}
	if slices.Contains(path, "") {
		c.fail(n, "write config.NAME", "the name after %q must be written out", path[0])
		return
	}
	if message, hint := checkValueName(path); message != "" {
		c.fail(root, hint, "%s", message)
		return
	}
	c.names = append(c.names, valueName{text: strings.Join(path, "."), path: path, optional: optional, off: c.at(root)})
}

// flatten turns a.b["c"] into its names, with "" for what is not written out, or gives a nil root where it does
// not begin with a name.
func flatten(n ast.Node) (path []string, root *ast.IdentifierNode) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return []string{n.Value}, n
	case *ast.ChainNode:
		return flatten(n.Node)
	case *ast.MemberNode:
		path, root = flatten(n.Node)
		if root == nil {
			return nil, nil
		}
		if s, ok := n.Property.(*ast.StringNode); ok {
			return append(path, s.Value), root
		}
		return append(path, ""), root
	}
	return nil, nil
}

var valueRoots = []string{"config", "params", "node", "task", "instant", "run", "steps", "item"}

// checkValueName says what is wrong with a name, and how to mend it.
func checkValueName(path []string) (message, hint string) {
	full := strings.Join(path, ".")
	depth := 2
	switch path[0] {
	case "instant", "run":
		depth = 1
	case "config", "params":
		if len(path) < 2 {
			return fmt.Sprintf("%s needs a name", full), fmt.Sprintf("write %s.NAME", full)
		}
	case "node":
		switch {
		case len(path) < 2:
			return "node needs a name", "write node.name or node.labels.NAME"
		case path[1] == "labels":
			if depth = 3; len(path) < 3 {
				return "node.labels needs a name", "write node.labels.NAME"
			}
		case path[1] != "name":
			return unknownValue(full, path[1], "node.", "name", "labels")
		}
	case "task":
		if len(path) < 2 {
			return "task needs a name", "write task.name or task.group"
		}
		if path[1] != "name" && path[1] != "group" {
			return unknownValue(full, path[1], "task.", "name", "group")
		}
	case "steps":
		return checkStepName(path)
	case "item":
		return "", ""
	default:
		if hint = didYouMean(path[0], valueRoots); hint == "" {
			hint = "names begin with config, params, node, task, steps or item, or are instant or run"
			if len(path) == 1 && validEnvName(full) {
				hint = fmt.Sprintf("did you mean config.%s? %s", full, hint)
			}
		}
		return fmt.Sprintf("unknown name %q", full), hint
	}
	if len(path) > depth {
		return fmt.Sprintf("%s is text and has no %q", strings.Join(path[:depth], "."), path[depth]), ""
	}
	return "", ""
}

// checkStepName says what is wrong with a name of a step's data.
func checkStepName(path []string) (message, hint string) {
	full := strings.Join(path, ".")
	parts := []string{"outcome", "result", "results"}
	switch {
	case len(path) < 2:
		return "steps needs a name", "write steps.STEP.result.FIELD or steps.STEP.outcome"
	case len(path) < 3:
		return fmt.Sprintf("%s needs a name", full),
			fmt.Sprintf(`write %s.result.FIELD or %s.outcome; a step whose name has a "-" or a "." is written steps["NAME"].outcome`, full, full)
	case !slices.Contains(parts, path[2]):
		return fmt.Sprintf("unknown name %q", full), wantOneOf(path[2], parts)
	case path[2] == "outcome" && len(path) > 3:
		return fmt.Sprintf("%s is text and has no %q", strings.Join(path[:3], "."), path[3]), ""
	}
	return "", ""
}

func unknownValue(full, last, prefix string, known ...string) (message, hint string) {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = prefix + k
	}
	return fmt.Sprintf("unknown name %q", full), wantOneOf(prefix+last, names)
}
