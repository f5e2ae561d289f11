// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

// poolSet is what was wrong with the pools when they were last read, by name.
type poolSet map[string]problem

// problem keeps a pool, or a part of it, from being used.
type problem struct {
	reason   string
	messages []string
}

// maxProblems is how many messages a condition names: the API server refuses long ones.
const maxProblems = 10

func (p problem) String() string {
	text := strings.Join(p.messages[:min(len(p.messages), maxProblems)], "; ")
	if more := len(p.messages) - maxProblems; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// watchPools reads all pools again when the spec of one changes: each may decide what another one has.
func (c *Cloud) watchPools() {
	c.caches.pools.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { c.poolsChanged.set() },
		UpdateFunc: func(old, current any) {
			if !apiequality.Semantic.DeepEqual(old.(*v1beta1.IPAddressPool).Spec, current.(*v1beta1.IPAddressPool).Spec) {
				c.poolsChanged.set()
			}
		},
		DeleteFunc: func(any) { c.poolsChanged.set() },
	})
}

// cachedPool is a pool as the cache has it.
func (c *Cloud) cachedPool(name string) (*v1beta1.IPAddressPool, bool) {
	obj, ok, err := c.caches.pools.GetStore().GetByKey(c.options.Namespace + "/" + name)
	if err != nil || !ok {
		return nil, false
	}
	return obj.(*v1beta1.IPAddressPool), true
}

func (c *Cloud) cachedPools() []*v1beta1.IPAddressPool {
	var specs []*v1beta1.IPAddressPool
	for _, obj := range c.caches.pools.GetStore().List() {
		specs = append(specs, obj.(*v1beta1.IPAddressPool))
	}
	return specs
}

func specsOf(pools []*v1beta1.IPAddressPool) map[types.UID]v1beta1.IPAddressPoolSpec {
	specs := make(map[types.UID]v1beta1.IPAddressPoolSpec, len(pools))
	for _, pool := range pools {
		specs[pool.UID] = pool.Spec
	}
	return specs
}

// poolsChange says what pools became since the allocator was given them.
type poolsChange int

const (
	poolsSame  poolsChange = iota
	poolsGrew              // all are there still, with the same rules and all their entries
	poolsOther             // somebody may lose something by it
)

func (c *Cloud) comparePools() poolsChange {
	current := specsOf(c.cachedPools())
	c.mu.Lock()
	defer c.mu.Unlock()
	if apiequality.Semantic.DeepEqual(current, c.specs) {
		return poolsSame
	}
	if len(c.specs) == 0 && c.anyHeld() {
		return poolsOther // addresses of no pool are kept only as long as there is none
	}
	for uid, former := range c.specs {
		spec, ok := current[uid]
		for _, entry := range former.Addresses {
			ok = ok && slices.Contains(spec.Addresses, entry)
		}
		spec.Addresses = former.Addresses
		if !ok || !apiequality.Semantic.DeepEqual(former, spec) {
			return poolsOther
		}
	}
	return poolsGrew
}

// readPools gives the allocator the pools as they are in the cache, oldest first.
func (c *Cloud) readPools(logger klog.Logger) {
	specs := c.cachedPools()
	slices.SortFunc(specs, translate.ComparePools)
	var pools []ipam.Pool
	problems := poolSet{}
	for _, spec := range specs {
		pool, invalid := translate.Pool(spec)
		pools = append(pools, pool)
		if len(invalid) > 0 {
			problems[pool.Name] = problem{reasonInvalid, invalid}
		}
	}
	c.mu.Lock()
	overlaps := c.allocator.SetPools(pools)
	for _, overlap := range overlaps {
		problems.add(overlap)
	}
	c.pools, c.specs = problems, specsOf(specs)
	c.mu.Unlock()
	logger.V(1).Info("pools read", "pools", len(pools), "problems", len(problems))
	c.statusChanged.set()
}

func (p poolSet) add(overlap ipam.Overlap) {
	found := p[overlap.Pool]
	p[overlap.Pool] = problem{cmp.Or(found.reason, reasonOverlap), append(found.messages, translate.Overlap(overlap))}
}
