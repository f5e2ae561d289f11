// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// leasesOf is the API server as one node reaches it.
type leasesOf struct {
	api  *apiServer
	node *node
}

func (l leasesOf) Leases(string) coordinationv1client.LeaseInterface {
	return leaseClient{api: l.api, node: l.node}
}

type leaseClient struct {
	coordinationv1client.LeaseInterface // what is not written here is not used
	api                                 *apiServer
	node                                *node
}

var errAway = errors.New("API server away")

// oneWay is how long a request or an answer is under way in good weather, at least and at most.
const oneWay, oneWayAtMost = time.Millisecond, 4 * time.Millisecond

// travel is the way of a request to the API server, or of an answer back: it takes its time, waits while the node is cut off
// or stands still, and gets lost.
func (c leaseClient) travel(ctx context.Context, lost func(weather) float64) error {
	if c.node.world == nil { // of a test without a world
		return ctx.Err()
	}
	c.node.waitWhileStanding()
	now := c.node.weatherNow()
	if now.apiDown {
		return fmt.Errorf("%w: connection refused", errAway)
	}
	gone := c.api.chance.happens(lost(now))
	wait := c.api.chance.between(oneWay, oneWayAtMost) + c.api.chance.below(now.slow)
	for {
		if err := sleep(ctx, wait); err != nil {
			c.node.waitWhileStanding()
			return fmt.Errorf("%w: %w", errAway, err)
		}
		wait = 20 * time.Millisecond // sent again, as TCP does
		if !gone && c.node.reachesAPI() {
			c.node.waitWhileStanding()
			return ctx.Err()
		}
	}
}

// ask does a request and brings its answer back. One that got stuck on its way may still be done after whoever sent it
// has given up.
func (c leaseClient) ask(ctx context.Context, do func() (*coordinationv1.Lease, error)) (*coordinationv1.Lease, error) {
	if err := c.travel(ctx, func(w weather) float64 { return w.loseRequest }); err != nil {
		if c.node.world != nil && !errors.Is(err, context.Canceled) && c.api.chance.happens(c.node.weatherNow().late) {
			c.api.work.Go(func() {
				time.Sleep(c.api.chance.below(3 * time.Second))
				_, _ = do() // nobody hears the answer
			})
		}
		return nil, err
	}
	lease, err := do()
	if away := c.travel(ctx, func(w weather) float64 { return w.loseAnswer }); away != nil {
		return nil, away
	}
	return lease.DeepCopy(), err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *node) weatherNow() weather {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.weather
}

// Get reads one Lease from the store.
func (c leaseClient) Get(ctx context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	return c.ask(ctx, func() (*coordinationv1.Lease, error) {
		c.api.mu.Lock()
		defer c.api.mu.Unlock()
		c.api.reads++
		if lease := c.api.leases[name]; lease != nil {
			return lease, nil
		}
		return nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), name)
	})
}

// Create writes a Lease that must not be there.
func (c leaseClient) Create(ctx context.Context, lease *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return c.write(ctx, lease, true)
}

// Update writes a Lease that must be there, in the version that is sent.
func (c leaseClient) Update(ctx context.Context, lease *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	return c.write(ctx, lease, false)
}

func (c leaseClient) write(ctx context.Context, lease *coordinationv1.Lease, create bool) (*coordinationv1.Lease, error) {
	sent := lease.DeepCopy()
	return c.ask(ctx, func() (*coordinationv1.Lease, error) { return c.api.put(sent, create) })
}

// List reads all Leases from the cache, which must be as new as the version asked for.
func (c leaseClient) List(ctx context.Context, options metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	if err := c.travel(ctx, func(w weather) float64 { return w.loseRequest }); err != nil {
		return nil, err
	}
	list, ok := c.api.list(options.ResourceVersion)
	if !ok {
		if err := sleep(ctx, 3*time.Second); err != nil {
			return nil, err
		}
		return nil, apierrors.NewTimeoutError("Too large resource version", 1)
	}
	if err := c.travel(ctx, func(w weather) float64 { return w.loseAnswer }); err != nil {
		return nil, err
	}
	return list, nil
}

// Watch delivers what comes after a version.
func (c leaseClient) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if options.SendInitialEvents != nil {
		return nil, apierrors.NewInvalid(coordinationv1.SchemeGroupVersion.WithKind("Lease").GroupKind(), "", nil)
	}
	if err := c.travel(ctx, func(w weather) float64 { return w.loseRequest }); err != nil {
		return nil, err
	}
	watching, err := c.api.watchFrom(c.node, parseVersion(options.ResourceVersion))
	if err != nil {
		return nil, err
	}
	return watching, nil
}
