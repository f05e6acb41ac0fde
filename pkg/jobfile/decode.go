package jobfile

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cron"
)

// take takes the jobs out of what a file has.
func (f *file) take(roots []*node) {
	for _, root := range roots {
		f.takeAny(root)
	}
}

func (f *file) takeAny(n *node) {
	switch {
	case n.kind == list:
		f.takeList(n)
	case n.kind == mapping && n.get("jobs") != nil:
		f.takeJobs(n)
	default:
		f.takeJob(n)
	}
}

func (f *file) takeList(n *node) {
	for _, item := range n.items {
		f.takeJob(item)
	}
}

// takeJobs reads a mapping that has the jobs beside what they have in common.
func (f *file) takeJobs(n *node) {
	f.refuseTwice(n)
	for i, key := range n.keys {
		item := n.items[i]
		switch {
		case key.text == "jobs" && item.kind == list:
			f.takeList(item)
		case key.text == "jobs" && item.kind != null:
			f.refuse(item.line, "jobs is a list, not %s", item.kind)
		case key.text != "jobs" && !strings.HasPrefix(key.text, "x-"):
			f.refuse(key.line, "%+.64q cannot stand beside jobs: only what begins with x- can", key.text)
		}
	}
}

func (f *file) takeJob(n *node) {
	if n.kind != mapping {
		f.refuse(n.line, "a job is a mapping with name and schedule, not %s", n)
		return
	}
	var job cron.Job
	d := decoder{f}
	errs := len(f.errs)
	d.fields(n, "a job", reflect.ValueOf(&job).Elem())
	if name := n.get("name"); name == nil || name.kind == text && name.text == "" {
		f.refuse(n.line, "the job has no name")
	}
	job.Unstamp() // when and by whom it was stored is up to the store
	if len(f.errs) == errs {
		f.jobs = append(f.jobs, entry{job, n.line})
	}
}

func (f *file) refuseTwice(n *node) {
	first := make(map[string]int, len(n.keys))
	for _, key := range n.keys {
		if line, twice := first[key.text]; twice {
			f.refuse(key.line, "%+.64q is given twice: it is in line %d, too", key.text, line)
			continue
		}
		first[key.text] = key.line
	}
}

// A decoder puts nodes into a job. What does not fit it refuses, and goes on.
type decoder struct{ *file }

// fields fills a struct by the names that its fields have in JSON.
func (d decoder) fields(n *node, of string, v reflect.Value) {
	d.refuseTwice(n)
	for i, key := range n.keys {
		field, ok := fieldNamed(v, key.text)
		if !ok {
			d.refuse(key.line, "%+.64q is not a field of %s%s", key.text, of, meant(key.text, v.Type()))
			continue
		}
		d.value(n.items[i], key.text, field)
	}
}

// meant says which name was meant, or all that there are if these are few.
func meant(typed string, of reflect.Type) string {
	names := fieldNames(of)
	if field := cron.FieldMeant(typed); slices.Contains(names, field) {
		return fmt.Sprintf(": did you mean %q?", field)
	}
	hint := cron.DidYouMean(typed, names)
	if hint == "" && len(names) <= 3 {
		return ", which has " + strings.Join(names, " and ")
	}
	return hint
}

func fieldNamed(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if fieldName(v.Type().Field(i)) == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func fieldNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = fieldName(t.Field(i))
	}
	return names
}

func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// never0 names the fields whose 0 would be taken for their default, and the least that
// they can be.
var never0 = map[string]string{"deadline": "1s", "keep": "1", "keep-for": "1s", "backoff": "1ms"}

// value puts a node into a field.
func (d decoder) value(n *node, field string, v reflect.Value) {
	if n.kind == null {
		d.refuse(n.line, "%s has no value: leave it out, or write \"\" if it is empty", field)
		return
	}
	errs := len(d.errs)
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.unmarshal(n, field, u)
	} else {
		d.plainValue(n, field, v)
	}
	if least, ok := never0[field]; ok && v.IsZero() && len(d.errs) == errs {
		d.refuse(n.line, "%s: %s is less than %s; left out, it is the default", field, n, least)
	}
}

func (d decoder) plainValue(n *node, field string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, field, v.Elem())
	case reflect.Struct:
		if n.kind == number && field == "retry" {
			d.refuse(n.line, "retry is a mapping, not %s: did you mean {n: %s}?", n, n)
			return
		}
		if d.is(n, field, mapping) {
			d.fields(n, field, v)
		}
	case reflect.Slice:
		d.list(n, field, v)
	case reflect.Map:
		d.mapping(n, field, v)
	case reflect.String:
		v.SetString(d.text(n, field))
	case reflect.Bool:
		if d.is(n, field, boolean) {
			v.SetBool(strings.EqualFold(n.text, "true"))
		}
	case reflect.Int:
		d.integer(n, field, v)
	default:
		panic(fmt.Sprintf("a job has the field %s, whose type %s cannot be read", field, v.Type()))
	}
}

// is refuses a node of another kind.
func (d decoder) is(n *node, field string, want kind) bool {
	if n.kind != want {
		d.refuse(n.line, "%s is %s, not %s", field, want, n)
	}
	return n.kind == want
}

// text returns a scalar as it is written. YAML's own idea of what a word without
// quotes is does not count where text belongs.
func (d decoder) text(n *node, field string) string {
	if n.kind != text && !(n.plain && n.kind < text) {
		d.refuse(n.line, "%s is text, not %s%s", field, n, quoted(n))
	}
	return n.text
}

// quoted tells how to make text of a value that is written without quotes.
func quoted(n *node) string {
	if n.kind != number && n.kind != boolean {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", n.text)
}

// unmarshal reads lengths and instants of time.
func (d decoder) unmarshal(n *node, field string, u encoding.TextUnmarshaler) {
	if n.kind > text || n.kind == boolean {
		d.is(n, field, text)
		return
	}
	err := u.UnmarshalText([]byte(n.text))
	if _, isTime := u.(*time.Time); isTime && err != nil {
		err = fmt.Errorf("%+.64q is not a time such as 2030-01-02T03:04:05Z", n.text)
	}
	if err != nil {
		d.refuse(n.line, "%s: %w", field, err)
	}
}

func (d decoder) integer(n *node, field string, v reflect.Value) {
	if !d.is(n, field, number) {
		return
	}
	i, err := strconv.Atoi(n.text)
	if err != nil || strconv.Itoa(i) != n.text { // 010 is 8 to one reader and 10 to the next
		d.refuse(n.line, "%s: %s is not a whole number, or not written as one", field, n)
		return
	}
	v.SetInt(int64(i))
}

func (d decoder) list(n *node, field string, v reflect.Value) {
	switch {
	case field == "cmd" && n.kind <= text:
		d.refuse(n.line, "cmd is a list of words; for a shell command use script")
		return
	case n.kind != list && n.kind <= text:
		d.refuse(n.line, "%s is a list, not %s: did you mean [%s]?", field, n, n)
		return
	case !d.is(n, field, list):
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		d.value(item, fmt.Sprintf("%s, word %d,", field, i+1), v.Index(i))
	}
}

func (d decoder) mapping(n *node, field string, v reflect.Value) {
	if n.kind == list {
		d.refuse(n.line, "%s is a mapping, not a list: each is NAME: VALUE, without a dash", field)
		return
	}
	if !d.is(n, field, mapping) {
		return
	}
	d.refuseTwice(n)
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.keys)))
	for i, key := range n.keys {
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(n.items[i], field+": "+key.text, value)
		v.SetMapIndex(reflect.ValueOf(key.text), value)
	}
}
