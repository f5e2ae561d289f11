// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

const (
	secretCheckInterval = time.Minute
	secretRetryInterval = time.Second
)

// keepMemberlistSecret looks every minute whether the Secret is there, and sooner after a failure: speakers wait for it.
func (c *Cloud) keepMemberlistSecret(ctx context.Context) {
	retry := secretRetryInterval
	for {
		interval := secretCheckInterval
		if c.ensureMemberlistSecret(ctx) {
			retry = secretRetryInterval
		} else {
			interval = retry
			retry = min(2*retry, secretCheckInterval)
		}
		if !pause(ctx, interval) {
			return
		}
	}
}

// ensureMemberlistSecret makes the Secret when it is missing, and tells whether it is there. One that is there is never changed: speakers that read it
// at different times must read the same. Of two controllers that create it at once, the API server lets one win.
func (c *Cloud) ensureMemberlistSecret(ctx context.Context) bool {
	logger := klog.FromContext(ctx)
	secrets := c.clients.kube.CoreV1().Secrets(c.options.Namespace)
	_, err := secrets.Get(ctx, names.MemberlistSecret, metav1.GetOptions{})
	if err == nil {
		return true
	}
	if !apierrors.IsNotFound(err) {
		logger.Error(err, "Cannot read the Secret that speakers sign with", "secret", klog.KRef(c.options.Namespace, names.MemberlistSecret))
		return false
	}
	_, err = secrets.Create(ctx, &v1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: names.MemberlistSecret, Namespace: c.options.Namespace},
		Data:       map[string][]byte{names.MemberlistKey: newSecretKey()},
	}, metav1.CreateOptions{})
	switch {
	case err == nil:
		logger.Info("Made the Secret that speakers sign with", "secret", klog.KRef(c.options.Namespace, names.MemberlistSecret))
	case !apierrors.IsAlreadyExists(err):
		logger.Error(err, "Cannot make the Secret that speakers sign with", "secret", klog.KRef(c.options.Namespace, names.MemberlistSecret))
		return false
	}
	return true
}

func newSecretKey() []byte {
	random := make([]byte, 48)
	rand.Read(random)
	return []byte(base64.StdEncoding.EncodeToString(random))
}
