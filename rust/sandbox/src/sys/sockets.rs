//! Messages with boundaries that may carry descriptors; waiting for them.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null;
use std::time::{Duration, Instant};

use libc::{c_long, pollfd};

use super::result::{Sys, check};

/// A pair of connected sockets that keep message boundaries, close-on-exec.
pub(crate) fn socket_pair() -> Sys<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the array holds two descriptors.
    check(c_long::from(unsafe {
        libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr())
    }))?;
    // SAFETY: both are new and ours.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Most descriptors in one message.
pub(crate) const MAX_FDS: usize = 4;

#[repr(C, align(8))]
struct Ancillary([u8; 64]);

/// Sends one message without descriptors, by a call that cannot carry any: all that a program's process may use.
pub(crate) fn send_plain(socket: RawFd, bytes: &[u8]) -> Sys<()> {
    // SAFETY: pointer and length describe one live slice; no address.
    let sent = unsafe {
        libc::sendto(
            socket,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
            null(),
            0,
        )
    };
    check(sent as c_long).map(drop)
}

/// How long to go on trying to send descriptors while too many of this user's are on their way.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(2);

/// Whether descriptors could not be sent because too many of the user's, whichever process sent them, are on their way.
pub(crate) fn too_many_in_flight(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ETOOMANYREFS)
}

/// Sends one message, with descriptors. A dead peer is an error, not a signal.
pub(crate) fn send(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> Sys<()> {
    send_with(socket, bytes, fds, 0)
}

/// The same, but an error instead of waiting if the socket is full.
pub(crate) fn try_send(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> Sys<()> {
    send_with(socket, bytes, fds, libc::MSG_DONTWAIT)
}

fn send_with(socket: RawFd, bytes: &[u8], fds: &[RawFd], flags: i32) -> Sys<()> {
    let started = Instant::now();
    loop {
        match send_once(socket, bytes, fds, flags) {
            Err(error) if too_many_in_flight(&error) && started.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

fn send_once(socket: RawFd, bytes: &[u8], fds: &[RawFd], flags: i32) -> Sys<()> {
    assert!(fds.len() <= MAX_FDS);
    let mut iov = libc::iovec {
        iov_base: bytes.as_ptr() as *mut _,
        iov_len: bytes.len(),
    };
    let mut space = Ancillary([0; 64]);
    // SAFETY: an all-zero msghdr is valid; every pointer set below outlives the call; the control buffer is
    // aligned for cmsghdr and larger than CMSG_SPACE(4 * MAX_FDS) = 32.
    let sent = unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            let length = size_of_val(fds) as u32;
            message.msg_control = space.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(length) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length) as _;
            libc::CMSG_DATA(header).copy_from_nonoverlapping(fds.as_ptr().cast(), size_of_val(fds));
        }
        libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL | flags)
    };
    check(sent as c_long).map(drop)
}

/// Receives one message into `bytes`; descriptors that came with it go to `fds`, close-on-exec.
/// Returns (bytes, descriptors); 0 bytes is the end.
pub(crate) fn receive(
    socket: RawFd,
    bytes: &mut [u8],
    fds: &mut [RawFd; MAX_FDS],
) -> Sys<(usize, usize)> {
    let mut iov = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut space = Ancillary([0; 64]);
    // SAFETY: as in `send`; the kernel writes at most msg_controllen bytes, and CMSG_SPACE(16) = 32 bounds the
    // number of descriptors to four.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = space.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<[RawFd; MAX_FDS]>() as u32) as _;
        let n = loop {
            match check(libc::recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC) as c_long) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let mut count = 0;
        if !header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS {
            count = ((*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
            count = count.min(MAX_FDS);
            let data: *const RawFd = libc::CMSG_DATA(header).cast();
            for (index, slot) in fds.iter_mut().enumerate().take(count) {
                *slot = data.add(index).read_unaligned();
            }
        }
        Ok((n as usize, count))
    }
}

/// Receives without descriptors: the kernel drops any that come along. `Ok(None)`: nothing there yet.
pub(crate) fn receive_plain(socket: &OwnedFd, bytes: &mut [u8]) -> Sys<Option<usize>> {
    // SAFETY: pointer and length describe one live slice.
    let n = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
        )
    };
    match check(n as c_long) {
        Ok(n) => Ok(Some(n as usize)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

/// Takes ownership of a descriptor that came with a message.
pub(crate) fn take_fd(fd: RawFd) -> OwnedFd {
    // SAFETY: called once per descriptor returned by `receive`.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Waits until one of the descriptors can be read; negative ones are skipped. Returns which are readable or hung up.
pub(crate) fn wait<const N: usize>(fds: [RawFd; N], timeout: Duration) -> Sys<[bool; N]> {
    let mut polled = fds.map(|fd| pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    let time = libc::timespec {
        tv_sec: timeout.as_secs().min(1 << 30) as _,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: the array outlives the call; no signal mask.
    let n = unsafe { libc::ppoll(polled.as_mut_ptr(), N as _, &raw const time, null()) };
    match check(c_long::from(n)) {
        Ok(_) => Ok(polled.map(|p| p.revents != 0)),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok([false; N]),
        Err(e) => Err(e),
    }
}
