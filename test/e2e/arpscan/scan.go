// SPDX-License-Identifier: Apache-2.0

// Package arpscan asks a LAN who answers ARP for an address and collects every answer, not only the first: two hosts that
// answer for one VIP are the failure it exists to see.
//
// It never asks the kernel: the neighbour table keeps one answer, whichever came last.
package arpscan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/packet"
)

const etherTypeARP = 0x0806

// broadcast is every host on the LAN.
var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Config is one census.
type Config struct {
	Interface string
	Target    netip.Addr
	// Requests are sent Every so often; answers are collected until Window after the last one.
	Requests int
	Every    time.Duration
	Window   time.Duration
	// OnReply, when set, is told each reply as it comes and how long after the latest request.
	OnReply func(from net.HardwareAddr, after time.Duration)
}

// Answer is one host that replied.
type Answer struct {
	MAC     string        `json:"mac"`
	Replies int           `json:"replies"`
	First   time.Duration `json:"first"` // after the first request
}

// Scan sends the requests and returns everybody who answered, ordered by MAC. Nobody is not an error.
func Scan(ctx context.Context, cfg Config) ([]Answer, error) {
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("finding interface %s: %w", cfg.Interface, err)
	}
	request, err := requestFor(ifi, cfg.Target)
	if err != nil {
		return nil, err
	}
	conn, err := packet.Listen(ifi, packet.Datagram, etherTypeARP, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket on %s: %w", ifi.Name, err)
	}
	defer conn.Close()

	census := map[string]*Answer{}
	start := time.Now()
	for i := 0; i < cfg.Requests && ctx.Err() == nil; i++ {
		if _, err := conn.WriteTo(request, &packet.Addr{HardwareAddr: broadcast}); err != nil {
			return nil, fmt.Errorf("sending an ARP request on %s: %w", ifi.Name, err)
		}
		sent, listen := time.Now(), cfg.Every
		if i == cfg.Requests-1 {
			listen = cfg.Window
		}
		if err := collect(ctx, conn, cfg, census, start, sent, listen); err != nil {
			return nil, err
		}
	}
	answers := make([]Answer, 0, len(census))
	for _, a := range census {
		answers = append(answers, *a)
	}
	slices.SortFunc(answers, func(a, b Answer) int { return strings.Compare(a.MAC, b.MAC) })
	return answers, nil
}

func collect(ctx context.Context, conn *packet.Conn, cfg Config, census map[string]*Answer, start, sent time.Time, listen time.Duration) error {
	if err := conn.SetReadDeadline(sent.Add(listen)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buffer := make([]byte, 128)
	for {
		n, _, err := conn.ReadFrom(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading ARP replies on %s: %w", cfg.Interface, err)
		}
		var reply arp.Packet
		if reply.UnmarshalBinary(buffer[:n]) != nil || reply.Operation != arp.OperationReply || reply.SenderIP != cfg.Target {
			continue
		}
		mac := reply.SenderHardwareAddr.String()
		if census[mac] == nil {
			census[mac] = &Answer{MAC: mac, First: time.Since(start)}
		}
		census[mac].Replies++
		if cfg.OnReply != nil {
			cfg.OnReply(reply.SenderHardwareAddr, time.Since(sent))
		}
	}
}

// requestFor builds the request as an ordinary host of the LAN sends it: from the interface's own address.
func requestFor(ifi *net.Interface, target netip.Addr) ([]byte, error) {
	source, err := addressOn(ifi, target)
	if err != nil {
		return nil, err
	}
	p, err := arp.NewPacket(arp.OperationRequest, ifi.HardwareAddr, source, broadcast, target)
	if err != nil {
		return nil, fmt.Errorf("building an ARP request for %s: %w", target, err)
	}
	p.TargetHardwareAddr = make(net.HardwareAddr, 6) // RFC 826: unknown, that is what is asked
	return p.MarshalBinary()
}

func addressOn(ifi *net.Interface, target netip.Addr) (netip.Addr, error) {
	addrs, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing addresses of %s: %w", ifi.Name, err)
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Contains(target) {
			return prefix.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no address in the subnet of %s", ifi.Name, target)
}
