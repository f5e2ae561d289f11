// SPDX-License-Identifier: Apache-2.0

// Package build makes what a test cluster runs, Kubernetes' programs and a few container images, and keeps the
// result in a cache folder. An entry of the cache is named by a hash of everything it was made from: it is
// complete from the moment it has its name, never changed afterwards, and made by one builder at a time.
package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Cache is a folder of finished builds.
type Cache struct {
	root string
}

// OpenCache opens the user's cache, making the folder when it is missing.
func OpenCache() (Cache, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return Cache{}, fmt.Errorf("finding the cache folder: %w (set XDG_CACHE_HOME or HOME)", err)
	}
	root := filepath.Join(base, "cloud-provider-l2")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return Cache{}, fmt.Errorf("making the cache folder: %w", err)
	}
	return Cache{root: root}, nil
}

// Ensure returns the folder of an entry. When there is none yet, it calls make with an empty folder to fill, which
// becomes the entry if make succeeds. A second caller waits for the first and then finds the entry finished.
func (c Cache) Ensure(ctx context.Context, name, key string, waiting func(), make func(folder string) error) (string, error) {
	entry := filepath.Join(c.root, name+"-"+key)
	if exists(entry) {
		return entry, nil
	}
	unlock, err := lock(ctx, filepath.Join(c.root, name+".lock"), waiting)
	if err != nil {
		return "", fmt.Errorf("waiting for another build of %s: %w", name, err)
	}
	defer unlock()
	if exists(entry) {
		return entry, nil
	}
	unfinished, err := c.emptyFolder(name)
	if err != nil {
		return "", err
	}
	if err := make(unfinished); err != nil {
		return "", fmt.Errorf("building %s: %w", name, err)
	}
	if err := os.Rename(unfinished, entry); err != nil {
		return "", fmt.Errorf("putting the finished build into the cache: %w", err)
	}
	return entry, nil
}

// emptyFolder makes a folder to build in, under a name of its own: a compiler that outlived its killed `cluster build`
// may still write to the last one.
func (c Cache) emptyFolder(name string) (string, error) {
	prefix := "unfinished-" + name + "-"
	left, err := filepath.Glob(filepath.Join(c.root, prefix+"*"))
	if err != nil {
		return "", fmt.Errorf("looking for what a killed build left: %w", err)
	}
	for _, folder := range left {
		if err := os.RemoveAll(folder); err != nil {
			return "", fmt.Errorf("removing what a killed build left: %w", err)
		}
	}
	folder, err := os.MkdirTemp(c.root, prefix)
	if err != nil {
		return "", fmt.Errorf("making a folder to build in: %w", err)
	}
	return folder, os.Chmod(folder, 0o755)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lock takes an exclusive lock, which the kernel releases when this process ends, however it ends.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		return func() { file.Close() }, nil
	}
	waiting()
	taken := make(chan error, 1)
	go func() {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX)
		for err == unix.EINTR {
			err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		}
		taken <- err
	}()
	select {
	case err := <-taken:
		if err != nil {
			file.Close()
			return nil, err
		}
		return func() { file.Close() }, nil
	case <-ctx.Done():
		return nil, ctx.Err() // the process is about to end, and the waiting goroutine with it
	}
}
