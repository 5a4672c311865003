import Synchronization

/// One call into a session, or a stream's whole life, which can be stopped.
final class Call: Sendable {
    /// The reason to stop.
    private let reason = Mutex<(any Error)?>(nil)

    /// Requests a stop. The first reason counts.
    func stop(_ error: any Error = CancellationError()) {
        reason.withLock { $0 = $0 ?? error }
    }

    var isStopped: Bool { reason.withLock { $0 != nil } }

    /// Runs `body` unless stopped before. Throws the reason if the library reports a cancel.
    func run<R>(_ body: () throws -> R) throws -> R {
        try throwReason()
        do {
            return try body()
        } catch let error as CancellationError {
            try throwReason()
            throw error
        }
    }

    private func throwReason() throws {
        if let error = reason.withLock({ $0 }) {
            throw error
        }
    }
}

/// Whose turn it is in a session.
///
/// Each call has its own stop mark, which the library's progress callback reads.
/// `vaekl_session_cancel` marks the session instead: a mark set before the library begins the call
/// is lost.
final class Turns: Sendable {
    private let current = Mutex<Call?>(nil)
    private let onProgress: Session.OnProgress?

    init(onProgress: Session.OnProgress?) {
        self.onProgress = onProgress
    }

    /// Gives `call` the session until it leaves.
    func enter(_ call: Call) throws {
        try current.withLock { current in
            if current != nil {
                throw VaeklError(status: .state, message: "session: in use by another call")
            }
            current = call
        }
    }

    func leave() {
        current.withLock { $0 = nil }
    }

    /// Stops the call that owns the session.
    func stopCurrent() {
        current.withLock { $0 }?.stop()
    }

    /// The library's progress callback: 0 to go on.
    func report(done: UInt64, total: UInt64) -> Int32 {
        guard let call = current.withLock({ $0 }) else { return 0 }
        if !call.isStopped {
            do {
                try onProgress?(Session.Progress(done: done, total: total))
            } catch {
                call.stop(error)
            }
        }
        return call.isStopped ? 1 : 0
    }
}
