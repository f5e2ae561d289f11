// SPDX-License-Identifier: Apache-2.0

package servicestatus

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

var resource = schema.GroupResource{Group: "metallb.io", Resource: "servicel2statuses"}

// server is an API server of one kind in memory. As a real one it keeps a status only from UpdateStatus, refuses old versions, and tells
// those who watch.
type server struct {
	t *testing.T

	mu      sync.Mutex
	objects map[string]*v1beta1.ServiceL2Status
	version int
	watches []*subscriber
	// writes in the order in which they came, refused ones too.
	writes []string
	// lists counts complete lists, away refuses all writes, mute tells no watch of changes.
	lists      int
	away, mute bool
}

type subscriber struct {
	*watch.FakeWatcher
	selector labels.Selector
}

func newServer(t *testing.T, objects ...*v1beta1.ServiceL2Status) *server {
	s := &server{t: t, objects: map[string]*v1beta1.ServiceL2Status{}}
	for _, object := range objects {
		s.put(object.DeepCopy(), watch.Added)
	}
	return s
}

// put stores an object in a new version, and tells. The caller holds mu, or is the only one.
func (s *server) put(object *v1beta1.ServiceL2Status, event watch.EventType) *v1beta1.ServiceL2Status {
	s.version++
	object.ResourceVersion = strconv.Itoa(s.version)
	if event == watch.Added {
		object.UID = types.UID("uid-" + object.ResourceVersion)
	}
	if event == watch.Deleted {
		delete(s.objects, object.Name)
	} else {
		s.objects[object.Name] = object
	}
	for _, each := range s.watches {
		if !s.mute && !each.IsStopped() && each.selector.Matches(labels.Set(object.Labels)) {
			each.Action(event, object.DeepCopy())
		}
	}
	return object.DeepCopy()
}

// write notes a write and refuses it when the server is away.
func (s *server) write(verb, what string) error {
	s.writes = append(s.writes, verb+" "+what)
	if s.away {
		return apierrors.NewServiceUnavailable("away")
	}
	return nil
}

// wrote returns the writes since it was last called.
func (s *server) wrote() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	writes := s.writes
	s.writes = nil
	return writes
}

// says describes all objects, in order of name.
func (s *server) says() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		status := s.objects[name].Status
		var interfaces []string
		for _, each := range status.Interfaces {
			interfaces = append(interfaces, each.Name)
		}
		lines = append(lines, fmt.Sprintf("%s: %s on %s of %s/%s %s", name, strings.Join(status.Addresses, ","), status.Node,
			status.ServiceNamespace, status.ServiceName, strings.Join(interfaces, ",")))
	}
	return lines
}

func (s *server) Get(_ context.Context, name string, _ metav1.GetOptions) (*v1beta1.ServiceL2Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	object, ok := s.objects[name]
	if !ok {
		return nil, apierrors.NewNotFound(resource, name)
	}
	return object.DeepCopy(), nil
}

func (s *server) List(_ context.Context, options metav1.ListOptions) (*v1beta1.ServiceL2StatusList, error) {
	selector, err := labels.Parse(options.LabelSelector)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	list := &v1beta1.ServiceL2StatusList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}}
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		switch {
		case name <= options.Continue || !selector.Matches(labels.Set(s.objects[name].Labels)):
		case options.Limit > 0 && len(list.Items) == int(options.Limit):
			list.Continue = list.Items[len(list.Items)-1].Name
			return list, nil
		default:
			list.Items = append(list.Items, *s.objects[name].DeepCopy())
		}
	}
	return list, nil
}

func (s *server) Watch(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if options.SendInitialEvents != nil { // as a server that cannot
		return nil, apierrors.NewInvalid(schema.GroupKind{}, "", nil)
	}
	selector, err := labels.Parse(options.LabelSelector)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	subscriber := &subscriber{FakeWatcher: watch.NewFakeWithChanSize(1000, false), selector: selector}
	s.watches = append(s.watches, subscriber)
	return subscriber, nil
}

func (s *server) Create(_ context.Context, object *v1beta1.ServiceL2Status, _ metav1.CreateOptions) (*v1beta1.ServiceL2Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write("create", object.Name); err != nil {
		return nil, err
	}
	if _, exists := s.objects[object.Name]; exists {
		return nil, apierrors.NewAlreadyExists(resource, object.Name)
	}
	object = object.DeepCopy()
	object.Status = v1beta1.ServiceL2StatusStatus{}
	return s.put(object, watch.Added), nil
}

func (s *server) Update(_ context.Context, object *v1beta1.ServiceL2Status, _ metav1.UpdateOptions) (*v1beta1.ServiceL2Status, error) {
	return s.replace("update", object, func(to *v1beta1.ServiceL2Status) { to.Labels = object.Labels })
}

func (s *server) UpdateStatus(_ context.Context, object *v1beta1.ServiceL2Status, _ metav1.UpdateOptions) (*v1beta1.ServiceL2Status, error) {
	return s.replace("status", object, func(to *v1beta1.ServiceL2Status) { to.Status = object.Status })
}

func (s *server) replace(verb string, object *v1beta1.ServiceL2Status, change func(*v1beta1.ServiceL2Status)) (*v1beta1.ServiceL2Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(verb, object.Name); err != nil {
		return nil, err
	}
	held, exists := s.objects[object.Name]
	switch {
	case !exists:
		return nil, apierrors.NewNotFound(resource, object.Name)
	case held.ResourceVersion != object.ResourceVersion:
		return nil, apierrors.NewConflict(resource, object.Name, nil)
	}
	held = held.DeepCopy()
	change(held)
	return s.put(held, watch.Modified), nil
}

func (s *server) Delete(_ context.Context, name string, options metav1.DeleteOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write("delete", name); err != nil {
		return err
	}
	object, exists := s.objects[name]
	switch {
	case !exists:
		return apierrors.NewNotFound(resource, name)
	case options.Preconditions == nil || options.Preconditions.UID == nil || *options.Preconditions.UID != object.UID:
		return apierrors.NewConflict(resource, name, nil)
	}
	s.put(object, watch.Deleted)
	return nil
}

func (s *server) DeleteCollection(_ context.Context, _ metav1.DeleteOptions, options metav1.ListOptions) error {
	selector, err := labels.Parse(options.LabelSelector)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write("deletecollection", options.LabelSelector); err != nil {
		return err
	}
	for _, object := range s.objects {
		if selector.Matches(labels.Set(object.Labels)) {
			s.put(object, watch.Deleted)
		}
	}
	return nil
}

// Patch is not used.
func (s *server) Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (*v1beta1.ServiceL2Status, error) {
	s.t.Error("nothing should be patched")
	return nil, apierrors.NewMethodNotSupported(resource, "patch")
}
