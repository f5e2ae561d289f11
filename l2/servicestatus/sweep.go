// SPDX-License-Identifier: Apache-2.0

package servicestatus

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

const (
	// sweepAfter is how long who has a session must have been the same before objects are removed: a speaker that restarts takes its
	// own over.
	sweepAfter = 5 * time.Second
	// sweepRetry is how long to wait when that failed.
	sweepRetry = time.Minute
	// sweepPage is how many objects are listed in one request.
	sweepPage = 500
)

// sweeper removes the objects of nodes without a speaker: one deletion for each node, by one of the speakers.
type sweeper struct {
	objects client.ServiceL2Statuses
	node    string

	changed chan struct{}
	mu      sync.Mutex
	living  []string // nodes with a session, in order
}

func newSweeper(objects client.ServiceL2Statuses, node string) *sweeper {
	return &sweeper{objects: objects, node: node, changed: make(chan struct{}, 1)}
}

// set takes in who has a session.
func (s *sweeper) set(speakers map[string]plan.Speaker) {
	living := slices.Sorted(maps.Keys(speakers))
	s.mu.Lock()
	same := slices.Equal(living, s.living)
	s.living = living
	s.mu.Unlock()
	if same {
		return
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// sweeps says whether it is for this speaker to sweep, and who lives.
func (s *sweeper) sweeps() (living []string, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.living, len(s.living) > 0 && s.living[0] == s.node
}

// run sweeps when who has a session has changed and settled, until the context is done.
func (s *sweeper) run(ctx context.Context) {
	timer := time.NewTimer(sweepAfter)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			timer.Reset(sweepAfter)
		case <-timer.C:
			living, mine := s.sweeps()
			if !mine {
				continue
			}
			if err := s.sweep(ctx, living); err != nil && ctx.Err() == nil {
				klog.FromContext(ctx).V(2).Info("ServiceL2Statuses of nodes without a speaker cannot be removed; trying again", "reason", err.Error())
				timer.Reset(sweepRetry)
			}
		}
	}
}

// sweep removes the objects of all nodes but the living ones. A node that comes back while that happens makes its own anew.
func (s *sweeper) sweep(ctx context.Context, living []string) error {
	alive := map[string]bool{}
	for _, node := range living {
		alive[NodeLabel(node)] = true
	}
	gone, err := s.gone(ctx, alive)
	if err != nil {
		return err
	}
	for _, node := range gone {
		of := labels.Set{labelManagedBy: managedBy, v1beta1.LabelNode: node}.String()
		if err := s.objects.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: of}); err != nil {
			return err
		}
		klog.FromContext(ctx).Info("Removed the ServiceL2Statuses of a node without a speaker", "of", node, "node", s.node)
	}
	return nil
}

// gone lists the nodes, by label, that have objects and no speaker.
func (s *sweeper) gone(ctx context.Context, alive map[string]bool) ([]string, error) {
	gone := map[string]bool{}
	options := metav1.ListOptions{LabelSelector: labels.Set{labelManagedBy: managedBy}.String(), Limit: sweepPage}
	for {
		page, err := s.objects.List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			if node := page.Items[i].Labels[v1beta1.LabelNode]; node != "" && !alive[node] {
				gone[node] = true
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return slices.Sorted(maps.Keys(gone)), nil
		}
	}
}
