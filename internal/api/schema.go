package api

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// aliases gives the schema of types whose JSON is not what their Go type suggests.
func aliases(r huma.Registry) {
	r.RegisterTypeAlias(reflect.TypeFor[job.Command](), reflect.TypeFor[commandSchema]())
	r.RegisterTypeAlias(reflect.TypeFor[job.Timer](), reflect.TypeFor[timerSchema]())
	r.RegisterTypeAlias(reflect.TypeFor[job.Statuses](), reflect.TypeFor[statusesSchema]())
	r.RegisterTypeAlias(reflect.TypeFor[job.Retry](), reflect.TypeFor[retrySchema]())
	r.RegisterTypeAlias(reflect.TypeFor[job.TextOrSecret](), reflect.TypeFor[textOrSecretSchema]())
	r.RegisterTypeAlias(reflect.TypeFor[job.Size](), reflect.TypeFor[sizeSchema]())
	r.RegisterTypeAlias(reflect.TypeFor[client.WhyCode](), reflect.TypeFor[whyCodeSchema]())
}

func textList() *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}}
}

type commandSchema struct{}

func (commandSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "A list is executed as it is, a string goes to /bin/sh -c.",
		OneOf:       []*huma.Schema{{Type: huma.TypeString}, textList()},
	}
}

type timerSchema struct{}

func (timerSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "One timer, or several.",
		OneOf:       []*huma.Schema{{Type: huma.TypeString}, textList()},
	}
}

type textOrSecretSchema struct{}

func (textOrSecretSchema) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "A text, or the name of a secret of the masters that has it.",
		OneOf:       []*huma.Schema{{Type: huma.TypeString}, r.Schema(reflect.TypeFor[job.SecretRef](), true, "SecretRef")},
	}
}

type sizeSchema struct{}

func (sizeSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "A number of bytes, such as 512MiB, 2GiB or 4096.",
		OneOf:       []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeInteger}},
	}
}

type whyCodeSchema struct{}

func (whyCodeSchema) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Description: "Sorts the reason: of what no record tells, or the code of the record's own reason."}
	for _, c := range client.WhyCodes() {
		s.Enum = append(s.Enum, string(c))
	}
	return s
}

type statusesSchema struct{}

func (statusesSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "A status, a range such as 200-299, or several.",
		OneOf: []*huma.Schema{
			{Type: huma.TypeString}, {Type: huma.TypeInteger},
			{Type: huma.TypeArray, Items: &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeInteger}, {Type: huma.TypeString}}}},
		},
	}
}

type retrySchema struct{}

func (retrySchema) Schema(r huma.Registry) *huma.Schema {
	type Retry job.Retry
	return &huma.Schema{
		Description: "Further attempts after the first: how many, or how.",
		OneOf:       []*huma.Schema{{Type: huma.TypeInteger}, r.Schema(reflect.TypeFor[Retry](), true, "Retry")},
	}
}

// tidy makes the document say what the server does: lists are never null, problems are its own.
func tidy(doc *huma.OpenAPI) {
	schemas := doc.Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	for _, s := range schemas {
		notNull(s)
	}
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Put, path.Post, path.Patch, path.Delete} {
			if op == nil {
				continue
			}
			for _, p := range op.Parameters {
				notNull(p.Schema)
			}
			for _, r := range op.Responses {
				for _, m := range r.Content {
					notNull(m.Schema)
				}
			}
		}
	}
}

func notNull(s *huma.Schema) {
	if s == nil {
		return
	}
	if s.Type == huma.TypeArray {
		s.Nullable = false
	}
	notNull(s.Items)
	if values, ok := s.AdditionalProperties.(*huma.Schema); ok {
		notNull(values)
	}
	for _, p := range s.Properties {
		notNull(p)
	}
}

// document describes the body of an operation that reads it as it is.
func document(description string, kinds map[string]*huma.Schema) func(*huma.Operation) {
	return func(op *huma.Operation) {
		op.SkipValidateBody = true
		op.RequestBody = &huma.RequestBody{Description: description, Required: true, Content: map[string]*huma.MediaType{}}
		for kind, schema := range kinds {
			op.RequestBody.Content[kind] = &huma.MediaType{Schema: schema}
		}
	}
}
