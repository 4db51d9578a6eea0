package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Key is one key of the configuration.
type Key struct {
	Name string // "rpc.bind"; "driver.*.command" for the keys of every driver
	// Reload says that SIGHUP changes it; otherwise it takes a restart.
	Reload bool
}

// Keys lists every key in the order of the blocks.
func Keys() []Key {
	var keys []Key
	for _, block := range blocks(reflect.TypeFor[Config]()) {
		for _, field := range attributes(block.fields) {
			keys = append(keys, Key{Name: block.name + "." + field.key, Reload: field.reload})
		}
	}
	return keys
}

// Diff names the keys whose values differ: those a reload takes over, and those
// that keep their old value until the agent is restarted. Drivers are compared
// by name.
func Diff(old, new Config) (reloadable, restart []string) {
	sort := func(name string, reload bool) {
		if reload {
			reloadable = append(reloadable, name)
		} else {
			restart = append(restart, name)
		}
	}
	before, after := reflect.ValueOf(old), reflect.ValueOf(new)
	for _, block := range blocks(before.Type()) {
		if block.many {
			continue
		}
		x, y := before.Field(block.index), after.Field(block.index)
		for _, field := range attributes(block.fields) {
			if !reflect.DeepEqual(value(x, field.index), value(y, field.index)) {
				sort(block.name+"."+field.key, field.reload)
			}
		}
	}
	for _, name := range driverNames(old.Drivers, new.Drivers) {
		if !reflect.DeepEqual(driver(old.Drivers, name), driver(new.Drivers, name)) {
			sort(fmt.Sprintf("driver.%s", name), false)
		}
	}
	for _, name := range workloadNames(old.Workloads, new.Workloads) {
		if !reflect.DeepEqual(workload(old.Workloads, name), workload(new.Workloads, name)) {
			sort(fmt.Sprintf("workload.%s", name), false)
		}
	}
	return reloadable, restart
}

func workload(workloads []*Workload, id string) *Workload {
	if i := slices.IndexFunc(workloads, func(w *Workload) bool { return w.ID == id }); i >= 0 {
		return workloads[i]
	}
	return nil
}

func workloadNames(lists ...[]*Workload) []string {
	var names []string
	for _, w := range slices.Concat(lists...) {
		names = append(names, w.ID)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// value reads a field of a block that may be missing.
func value(block reflect.Value, field int) any {
	if block.IsNil() {
		return nil
	}
	return block.Elem().Field(field).Interface()
}

func driver(drivers []*Driver, name string) *Driver {
	if i := slices.IndexFunc(drivers, func(d *Driver) bool { return d.Name == name }); i >= 0 {
		return drivers[i]
	}
	return nil
}

func driverNames(lists ...[]*Driver) []string {
	var names []string
	for _, d := range slices.Concat(lists...) {
		names = append(names, d.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

type blockType struct {
	name   string
	index  int
	many   bool
	fields reflect.Type
}

func blocks(config reflect.Type) []blockType {
	var out []blockType
	for i := range config.NumField() {
		name, kind, _ := strings.Cut(config.Field(i).Tag.Get("hcl"), ",")
		if kind != "block" {
			continue
		}
		b := blockType{name: name, index: i, fields: config.Field(i).Type.Elem()}
		if b.fields.Kind() == reflect.Pointer { // a list of labelled blocks
			b.name, b.many, b.fields = name+".*", true, b.fields.Elem()
		}
		out = append(out, b)
	}
	return out
}

type attribute struct {
	key    string
	index  int
	reload bool
}

func attributes(block reflect.Type) []attribute {
	var out []attribute
	for i := range block.NumField() {
		key, kind, _ := strings.Cut(block.Field(i).Tag.Get("hcl"), ",")
		if kind == "label" {
			continue
		}
		out = append(out, attribute{key, i, block.Field(i).Tag.Get("reload") == "yes"})
	}
	return out
}
