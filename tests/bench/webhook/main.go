// The rival of `kfhost policy serve`: the same policy in Go, on net/http, with nothing but the standard
// library: decodes the review, changes the object, computes the JSON patch of what was changed.
//
//	webhook CERTIFICATE KEY: serves on a free port of 127.0.0.1 and prints the port
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"reflect"
	"sort"
	"strconv"
	"strings"
)

type request struct {
	UID       string         `json:"uid"`
	Operation string         `json:"operation"`
	Namespace string         `json:"namespace"`
	Object    map[string]any `json:"object"`
}

type status struct {
	Message string `json:"message"`
	Reason  string `json:"reason"`
	Code    int    `json:"code"`
}

type response struct {
	UID       string  `json:"uid"`
	Allowed   bool    `json:"allowed"`
	Status    *status `json:"status,omitempty"`
	Patch     []byte  `json:"patch,omitempty"`
	PatchType string  `json:"patchType,omitempty"`
}

type review struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Request    *request  `json:"request,omitempty"`
	Response   *response `json:"response,omitempty"`
}

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// Appends what makes b of a.
func diff(path string, a, b any, out []operation) []operation {
	switch from := a.(type) {
	case map[string]any:
		to, ok := b.(map[string]any)
		if !ok {
			return append(out, operation{"replace", path, b})
		}
		keys := make([]string, 0, len(from)+len(to))
		for key := range from {
			keys = append(keys, key)
		}
		for key := range to {
			if _, there := from[key]; !there {
				keys = append(keys, key)
			}
		}
		sort.Strings(keys)
		for _, key := range keys {
			before, was := from[key]
			after, is := to[key]
			at := path + "/" + escape(key)
			switch {
			case !was:
				out = append(out, operation{"add", at, after})
			case !is:
				out = append(out, operation{Op: "remove", Path: at})
			default:
				out = diff(at, before, after, out)
			}
		}
		return out
	case []any:
		to, ok := b.([]any)
		if !ok || len(to) != len(from) {
			return append(out, operation{"replace", path, b})
		}
		for i := range from {
			out = diff(path+"/"+strconv.Itoa(i), from[i], to[i], out)
		}
		return out
	default:
		if !reflect.DeepEqual(a, b) {
			return append(out, operation{"replace", path, b})
		}
		return out
	}
}

func clone(value any) any {
	switch from := value.(type) {
	case map[string]any:
		to := make(map[string]any, len(from))
		for key, inner := range from {
			to[key] = clone(inner)
		}
		return to
	case []any:
		to := make([]any, len(from))
		for i, inner := range from {
			to[i] = clone(inner)
		}
		return to
	}
	return value
}

// The policy of site.lua.
func apply(object map[string]any) string {
	metadata := object["metadata"].(map[string]any)
	labels, _ := metadata["labels"].(map[string]any)
	if labels["team"] == nil {
		return "pods need the label team"
	}
	if labels["tier"] != "batch" {
		return ""
	}
	labels["kfhost.io/seen"] = "yes"
	spec := object["spec"].(map[string]any)
	spec["priorityClassName"] = "batch"
	for _, one := range spec["containers"].([]any) {
		container := one.(map[string]any)
		if container["imagePullPolicy"] == nil {
			container["imagePullPolicy"] = "IfNotPresent"
		}
	}
	return ""
}

func answer(asked *request) *response {
	out := &response{UID: asked.UID, Allowed: true}
	before := clone(asked.Object).(map[string]any)
	if refusal := apply(asked.Object); refusal != "" {
		out.Allowed = false
		out.Status = &status{Message: refusal, Reason: "Forbidden", Code: 403}
		return out
	}
	if operations := diff("", before, asked.Object, nil); len(operations) > 0 {
		out.Patch, _ = json.Marshal(operations)
		out.PatchType = "JSONPatch"
	}
	return out
}

func mutate(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8<<20))
	asked := review{}
	if err != nil || json.Unmarshal(body, &asked) != nil || asked.Request == nil {
		http.Error(w, "this is no review", http.StatusBadRequest)
		return
	}
	given, _ := json.Marshal(review{APIVersion: asked.APIVersion, Kind: asked.Kind, Response: answer(asked.Request)})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(given)))
	w.Write(given)
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/mutate", mutate)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.ServeTLS(listener, nil, os.Args[1], os.Args[2]))
}
