import Vaekl
import XCTest

final class CancelTests: XCTestCase {
    private func assertUsable(_ session: Session, line: UInt = #line) async throws {
        let pictures = try await session.decode(Fixture.latents())
        XCTAssertEqual(pictures, [try Fixture.picture()], line: line)
    }

    func testCancellingATaskStopsItsDecode() async throws {
        let pause = Pause()
        let session = try Fixture.session(Session.Options(onProgress: pause.onProgress))
        let task = Task { try await session.decode(Fixture.latents()) }
        await pause.reached()
        task.cancel()
        pause.goOn()
        await assertCancelled { _ = try await task.value }
        XCTAssertEqual(pause.reports, 1)
        try await assertUsable(session)
    }

    func testCancellingATaskStopsItsEncode() async throws {
        let pause = Pause()
        let session = try Fixture.session(Session.Options(onProgress: pause.onProgress))
        let task = Task { try await session.encode([Fixture.image()]) }
        await pause.reached()
        task.cancel()
        pause.goOn()
        await assertCancelled { _ = try await task.value }
        XCTAssertEqual(pause.reports, 1)
        try await assertUsable(session)
    }

    func testATaskCancelledBeforeItsCallIsStopped() async throws {
        let session = try Fixture.session()
        let task = Task {
            while !Task.isCancelled {
                await Task.yield()
            }
            return try await session.decode(Fixture.latents())
        }
        task.cancel()
        await assertCancelled { _ = try await task.value }
        try await assertUsable(session)
    }

    func testACancelMeetsItsOwnCallOnly() async throws {
        let pause = Pause()
        let session = try Fixture.session(Session.Options(onProgress: pause.onProgress))
        let first = Task { try await session.decode(Fixture.latents()) }
        await pause.reached()
        // Waits for the first: cancelled before it begins.
        let second = Task { try await session.decode(Fixture.latents()) }
        second.cancel()
        pause.goOn()
        let pictures = try await first.value
        XCTAssertEqual(pictures, [try Fixture.picture()])
        await assertCancelled { _ = try await second.value }
        try await assertUsable(session)
    }

    func testSessionCancelStopsTheCallInProgress() async throws {
        let pause = Pause()
        let session = try Fixture.session(Session.Options(onProgress: pause.onProgress))
        let failure = Shared<(any Error)?>(nil)
        let ended = expectation(description: "the call ends")
        Thread.detachNewThread {
            do {
                _ = try session.decode(Fixture.latents())
            } catch {
                failure.set { $0 = error }
            }
            ended.fulfill()
        }
        await pause.reached()
        session.cancel()
        pause.goOn()
        await fulfillment(of: [ended], timeout: 60)
        XCTAssert(failure.value is CancellationError, "\(String(describing: failure.value))")
        // An idle session has nothing to cancel.
        session.cancel()
        try await assertUsable(session)
    }

    func testACancelledStreamEnds() async throws {
        let session = try Fixture.session()
        let task = Task {
            var bands = 0
            for try await _ in session.rows(of: try Fixture.latents(), maxRows: 8) {
                bands += 1
                withUnsafeCurrentTask { $0?.cancel() }
            }
            XCTFail("\(bands) bands")
        }
        await assertCancelled { try await task.value }
        try await assertUsable(session)
    }

    func testCancellingATaskStopsItsStreamsDecode() async throws {
        let pause = Pause()
        let session = try Fixture.session(Session.Options(onProgress: pause.onProgress))
        let task = Task {
            for try await _ in session.rows(of: try Fixture.latents()) {
                XCTFail("a band")
            }
        }
        await pause.reached()
        task.cancel()
        pause.goOn()
        await assertCancelled { try await task.value }
        XCTAssertEqual(pause.reports, 1)
        try await assertUsable(session)
    }

    func testSessionCancelEndsAStream() async throws {
        let session = try Fixture.session()
        let reader = try session.readRows(of: Fixture.latents(), maxRows: 8)
        XCTAssertEqual(try reader.next()?.count, 8)
        session.cancel()
        XCTAssertThrowsError(try reader.next()) { XCTAssert($0 is CancellationError, "\($0)") }
        XCTAssertNil(try reader.next())
        try await assertUsable(session)
    }

    func testAnErrorOfTheProgressClosureIsThrown() async throws {
        struct Enough: Error {}
        let calls = Shared(0)
        let session = try Fixture.session(
            Session.Options(onProgress: { _ in
                calls.set { $0 += 1 }
                if calls.value == 3 { throw Enough() }
            }))
        do {
            _ = try await session.decode(Fixture.latents())
            XCTFail("no error")
        } catch {
            XCTAssert(error is Enough, "\(error)")
        }
        XCTAssertEqual(calls.value, 3)
        try await assertUsable(session)
    }

    func testAProgressClosureCannotUseItsSession() async throws {
        let own = Shared<Session?>(nil)
        let failure = Shared<(any Error)?>(nil)
        let session = try Fixture.session(
            Session.Options(onProgress: { _ in
                guard let session = own.value else { return }
                own.set { $0 = nil }
                do {
                    _ = try session.decode(Fixture.latents())
                } catch {
                    failure.set { $0 = error }
                }
            }))
        own.set { $0 = session }
        try await assertUsable(session)
        XCTAssertEqual((failure.value as? VaeklError)?.status, .state)
        // But it may cancel.
        let other = Shared<Session?>(nil)
        let cancelled = try Fixture.session(
            Session.Options(onProgress: { _ in other.value?.cancel() }))
        other.set { $0 = cancelled }
        await assertCancelled { _ = try await cancelled.decode(Fixture.latents()) }
        other.set { $0 = nil }
        try await assertUsable(cancelled)
    }
}

final class ThreadTests: XCTestCase {
    func testTwoSessionsOnTwoThreads() throws {
        let model = try Fixture.model()
        let pictures = Shared<[Picture<UInt8>]>([])
        DispatchQueue.concurrentPerform(iterations: 2) { _ in
            do {
                let session = try Session(model, options: Session.Options(threads: 1))
                for _ in 0..<5 {
                    let decoded = try session.decode(Fixture.latents())
                    pictures.set { $0 += decoded }
                }
            } catch {
                XCTFail("\(error)")
            }
        }
        XCTAssertEqual(
            pictures.value, [Picture<UInt8>](repeating: try Fixture.picture(), count: 10))
    }

    func testTwoSessionsInTwoTasks() async throws {
        let model = try Fixture.model()
        let (a, b) = (try Session(model), try Session(model))
        async let first = a.decode(Fixture.latents())
        async let second = b.decode(Fixture.latents())
        let pictures = try await first + second
        XCTAssertEqual(pictures, [Picture<UInt8>](repeating: try Fixture.picture(), count: 2))
    }

    func testCallsOfTasksWaitForEachOther() async throws {
        let session = try Fixture.session()
        let expected = try Fixture.picture()
        try await withThrowingTaskGroup(of: [Picture<UInt8>].self) { group in
            for _ in 0..<8 {
                group.addTask { try await session.decode(Fixture.latents()) }
            }
            for try await pictures in group {
                XCTAssertEqual(pictures, [expected])
            }
        }
    }

    func testASecondThreadIsRefused() async throws {
        let pause = Pause()
        let session = try Fixture.session(Session.Options(onProgress: pause.onProgress))
        let task = Task { try await session.decode(Fixture.latents()) }
        await pause.reached()
        assertFails(.state, "in use") { _ = try session.decode(Fixture.latents()) }
        pause.goOn()
        let pictures = try await task.value
        XCTAssertEqual(pictures, [try Fixture.picture()])
    }

    /// More calls in progress than there are threads for tasks, and tasks run on.
    func testCallsHoldNoThreadOfTasks() async throws {
        let model = try Fixture.model()
        let calls = try (0..<3 * ProcessInfo.processInfo.activeProcessorCount + 3).map { _ in
            let pause = Pause()
            let session = try Session(
                model, options: Session.Options(threads: 1, onProgress: pause.onProgress))
            return (pause, Task { try await session.decode(Fixture.latents()) })
        }
        for (pause, _) in calls {
            await pause.reached()
        }
        for (pause, task) in calls {
            pause.goOn()
            let pictures = try await task.value
            XCTAssertEqual(pictures, [try Fixture.picture()])
            XCTAssertFalse(pause.timedOut)
        }
    }
}
