import Dispatch
import Synchronization
import Vaekl

/// A value that several threads change.
final class Shared<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>

    init(_ value: Value) {
        mutex = Mutex(value)
    }

    var value: Value { mutex.withLock { $0 } }

    func set(_ change: @Sendable (inout Value) -> Void) {
        mutex.withLock { change(&$0) }
    }
}

/// Holds a call at its first report, so that a test can do something that is sure to meet it in
/// progress.
final class Pause: Sendable {
    private let (arrivals, arrive) = AsyncStream<Void>.makeStream()
    private let release = DispatchSemaphore(value: 0)
    private let state = Shared((reports: 0, timedOut: false))

    /// Reports so far.
    var reports: Int { state.value.reports }

    /// Whether a call gave up waiting.
    var timedOut: Bool { state.value.timedOut }

    /// For `Session.Options`.
    var onProgress: Session.OnProgress {
        { [self] _ in
            state.set { $0.reports += 1 }
            if reports > 1 { return }
            arrive.yield()
            if release.wait(timeout: .now() + 60) == .timedOut {
                state.set { $0.timedOut = true }
            }
        }
    }

    /// Waits for a call.
    func reached() async {
        for await _ in arrivals { return }
    }

    /// Lets it go on.
    func goOn() {
        release.signal()
    }
}
