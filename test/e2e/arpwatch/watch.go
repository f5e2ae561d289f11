// SPDX-License-Identifier: Apache-2.0

// Package arpwatch keeps a record, answer by answer and with the time of each, of who answers ARP for VIPs and who announces
// them. It sees what package arpscan cannot: for how long nobody answers, and for how long two do.
//
// It asks from a packet socket, so that the kernel's neighbour table has no part in it. It never judges.
package arpwatch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

const etherTypeARP = 0x0806

// receiveBuffer holds the announcements of some thousand VIPs that move at once.
const receiveBuffer = 8 << 20

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Config is one watch.
type Config struct {
	Interface string
	Targets   []netip.Addr // IPv4, of any subnet
	// Every is how often each target is asked for; their requests are spread evenly over it. Zero: only listen.
	Every time.Duration
	// Record is called for each answer, from one goroutine.
	Record func(Answer)
}

// Run watches until ctx is done.
func Run(ctx context.Context, cfg Config) error {
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return fmt.Errorf("finding interface %s: %w", cfg.Interface, err)
	}
	source, err := firstIPv4(ifi)
	if err != nil {
		return err
	}
	conn, err := packet.Listen(ifi, packet.Datagram, etherTypeARP, nil)
	if err != nil {
		return fmt.Errorf("opening a packet socket on %s: %w", ifi.Name, err)
	}
	defer conn.Close()
	if err := enlarge(conn); err != nil {
		return fmt.Errorf("enlarging the receive buffer on %s: %w", ifi.Name, err)
	}
	w := &watch{cfg: cfg, ifi: ifi, source: source, conn: conn, targets: map[netip.Addr]bool{}}
	for _, target := range cfg.Targets {
		w.targets[target] = true
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if err := w.ask(ctx); err != nil {
			cancel(err)
		}
	}()
	err = w.listen()
	cancel(err)
	<-asked
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

type watch struct {
	cfg     Config
	ifi     *net.Interface
	source  netip.Addr
	conn    *packet.Conn
	targets map[netip.Addr]bool // never changed after the start
}

// ask keeps to its schedule: a machine that stalled asks more quickly until it has caught up with at most one round.
func (w *watch) ask(ctx context.Context) error {
	if w.cfg.Every <= 0 || len(w.cfg.Targets) == 0 {
		return nil
	}
	requests := make([][]byte, len(w.cfg.Targets))
	for i, target := range w.cfg.Targets {
		request, err := w.request(target)
		if err != nil {
			return err
		}
		requests[i] = request
	}
	apart := w.cfg.Every / time.Duration(len(requests))
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		now := time.Now()
		if now.Sub(due) > w.cfg.Every {
			due = now.Add(-w.cfg.Every)
		}
		for ; !due.After(now); due = due.Add(apart) {
			if _, err := w.conn.WriteTo(requests[i], &packet.Addr{HardwareAddr: broadcast}); err != nil {
				return fmt.Errorf("sending an ARP request on %s: %w", w.ifi.Name, err)
			}
			i = (i + 1) % len(requests)
		}
		timer.Reset(max(time.Until(due), time.Millisecond))
	}
}

func (w *watch) request(target netip.Addr) ([]byte, error) {
	p, err := arp.NewPacket(arp.OperationRequest, w.ifi.HardwareAddr, w.source, broadcast, target)
	if err != nil {
		return nil, fmt.Errorf("building an ARP request for %s: %w", target, err)
	}
	p.TargetHardwareAddr = make(net.HardwareAddr, 6) // RFC 826: unknown, that is what is asked
	return p.MarshalBinary()
}

func (w *watch) listen() error {
	buffer := make([]byte, 128)
	for {
		n, _, err := w.conn.ReadFrom(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading ARP on %s: %w", w.ifi.Name, err)
		}
		at := time.Now()
		var p arp.Packet
		if p.UnmarshalBinary(buffer[:n]) != nil || !w.targets[p.SenderIP] {
			continue
		}
		answer := Answer{At: at, Target: p.SenderIP, Host: p.SenderHardwareAddr.String()}
		switch {
		case p.SenderIP == p.TargetIP:
			answer.Kind = Announcement
		case p.Operation == arp.OperationReply && p.TargetIP == w.source:
			answer.Kind = Reply
		default:
			continue // an answer to somebody else, or a holder that asks for itself
		}
		w.cfg.Record(answer)
	}
}

// enlarge goes beyond net.core.rmem_max, which root may.
func enlarge(conn *packet.Conn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(descriptor uintptr) {
		failed = unix.SetsockoptInt(int(descriptor), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
		if errors.Is(failed, unix.EPERM) {
			failed = unix.SetsockoptInt(int(descriptor), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
	})
	return errors.Join(err, failed)
}

// firstIPv4 is whom the requests come from: as an ordinary host's, although some targets may be in other subnets.
func firstIPv4(ifi *net.Interface) (netip.Addr, error) {
	addrs, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing addresses of %s: %w", ifi.Name, err)
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() {
			return prefix.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no IPv4 address to ask from", ifi.Name)
}
