// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// socket is a packet socket on one interface.
//
// Its reader waits in the kernel, on a thread of its own, and not in Go's poller: that has one thread wait for all, which then has to find
// the goroutine, and often wakes another thread to run it. Where the asker is on the same processor a reply takes some 20% less time so.
type socket struct {
	index int
	file  *os.File // which keeps the descriptor from being closed, and used for something else, while somebody has it
	raw   syscall.RawConn
}

// receiveQueue is how many bytes may wait to be read, with what the kernel needs beside them, where net.core.rmem_max allows it: the default, net.core.rmem_default, is
// mostly half of what is allowed. In a flood what is lost is what comes while the reader waits for a processor.
const receiveQueue = 2 << 20

func openSocket(index, etherType int, filter []bpf.Instruction) (*socket, error) {
	// Without a protocol, nothing comes in before the filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	s := &socket{index: index, file: os.NewFile(uintptr(fd), "packet socket")} // a blocking one is not given to the poller
	if s.raw, err = s.file.SyscallConn(); err == nil {
		err = s.setFilter(filter)
	}
	if err == nil {
		err = s.control("binding a packet socket", func(fd int) error {
			return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(uint16(etherType)), Ifindex: index})
		})
	}
	if err == nil {
		err = s.control("making a packet socket non-blocking and its queue long", func(fd int) error {
			return errors.Join(unix.SetNonblock(fd, true), lengthenQueue(fd))
		})
	}
	if err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

// lengthenQueue lets receiveQueue bytes wait. A machine whose default is longer keeps it.
func lengthenQueue(fd int) error {
	bytes, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil || bytes >= receiveQueue {
		return err
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveQueue/2) // the kernel doubles it
}

// networkOrder is a number as it lies in a packet.
func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// control does something with the descriptor, which stays open for that time.
func (s *socket) control(doing string, do func(fd int) error) error {
	var err error
	if closed := s.raw.Control(func(fd uintptr) { err = do(int(fd)) }); closed != nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// receive calls handle for each frame, with the descriptor to answer on, until stop is readable, which is no error.
func (s *socket) receive(stop int, handle func(fd int, frame []byte)) error {
	const framesPerTurn = 64 // then it is looked whether to stop
	buffer := make([]byte, maxFrame+1)
	return s.control("reading", func(fd int) error {
		wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(wait, -1); err != nil && err != unix.EINTR {
				return err
			}
			if wait[1].Revents != 0 {
				return nil
			}
		turn:
			for range framesPerTurn {
				n, err := unix.Read(fd, buffer)
				switch err {
				case nil:
					handle(fd, buffer[:n])
				case unix.EAGAIN:
					break turn
				case unix.EINTR, unix.ENETDOWN: // the interface went down: it is told once, and may come up again
				default:
					return err
				}
			}
		}
	})
}

func (s *socket) send(frame []byte) DropReason {
	reason := SendFailed
	_ = s.raw.Control(func(fd uintptr) { reason = write(int(fd), frame) })
	return reason
}

// write sends a frame at once or not at all: whoever waits for a full queue answers nobody meanwhile.
func write(fd int, frame []byte) DropReason {
	for attempt := 1; ; attempt++ {
		_, err := unix.Write(fd, frame)
		switch {
		case err == nil:
			return passed
		case err == unix.EINTR:
		case err == unix.EAGAIN, err == unix.ENOBUFS:
			return SendQueueFull
		case err == unix.ENETDOWN && attempt == 1:
			// That the interface was down is told once, even when it is up again.
		default:
			return SendFailed
		}
	}
}

func (s *socket) setFilter(filter []bpf.Instruction) error {
	instructions, err := bpf.Assemble(filter)
	if err != nil {
		return fmt.Errorf("assembling the filter: %w", err)
	}
	program := make([]unix.SockFilter, len(instructions))
	for i, in := range instructions {
		program[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return s.control("setting the filter", func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
}

// join has the network card let the frames to a group through.
func (s *socket) join(group MAC) error {
	return s.membership("joining", unix.PACKET_ADD_MEMBERSHIP, group)
}

// leave takes join back.
func (s *socket) leave(group MAC) error {
	return s.membership("leaving", unix.PACKET_DROP_MEMBERSHIP, group)
}

func (s *socket) membership(doing string, option int, group MAC) error {
	request := &unix.PacketMreq{Ifindex: int32(s.index), Type: unix.PACKET_MR_MULTICAST, Alen: uint16(len(group))}
	copy(request.Address[:], group[:])
	return s.control(doing+" Ethernet group "+group.String(), func(fd int) error {
		return unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, option, request)
	})
}

// lost is how many packets the kernel dropped since the last call.
func (s *socket) lost() (count uint32) {
	_ = s.control("counting", func(fd int) error {
		stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil {
			count = stats.Drops
		}
		return err
	})
	return count
}

func (s *socket) close() { _ = s.file.Close() }

// checkRawSockets says early and clearly what opening the first socket would say late.
func checkRawSockets() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a packet socket (needs uid 0 and CAP_NET_RAW): %w", err)
	}
	return unix.Close(fd)
}
