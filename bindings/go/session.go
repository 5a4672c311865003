package vaekl

// #include <vaekl.h>
//
// // Go's, in progress.go.
// extern int32_t vaeklGoProgress(uintptr_t watch, uint64_t done, uint64_t total);
//
// static int32_t on_progress(void *watch, uint64_t done, uint64_t total) {
//   return vaeklGoProgress((uintptr_t)watch, done, total);
// }
//
// // A handle of Go's is an integer: it becomes a pointer in C only, where no garbage collector
// // looks at it.
// static vaekl_status new_session(const vaekl_model *model, const vaekl_session_options *options,
//                                 uintptr_t watch, vaekl_session **out, vaekl_error *error) {
//   vaekl_session_options watched = *options;
//   watched.progress = on_progress;
//   watched.progress_user = (void *)watch;
//   return vaekl_session_new(model, &watched, out, error);
// }
import "C"

import (
	"context"
	"runtime/cgo"
)

// SessionOptions are the options of a session. Zero values are the defaults.
type SessionOptions struct {
	// MemoryBudget is the limit in bytes of what a call adds to the process's memory, weights
	// included; 0 is no limit. A call that does not fit fails with ErrBudget before any work. The
	// limit never changes a bit of the result.
	MemoryBudget uint64
	// Threads is the number of threads; 0 is one per physical core.
	Threads int
	// ActivationDType is the type of the activations between layers: F32 (the default), F16 or BF16.
	// F16 becomes F32 if the model sets force_upcast.
	ActivationDType DType
	// Tiling tells whether to split a picture that is larger than a tile.
	Tiling Tiling
	// TileSize is the side of a tile in latent pixels; 0 is the model's sample_size, or for seamless
	// tiles with a budget the largest that fits it.
	TileSize int
	// TileOverlap is the overlap of neighbouring diffusers' tiles in latent pixels; 0 is a quarter of
	// a tile.
	TileOverlap int
	// ScratchDir is a folder for a nameless scratch file, to which activations are spilled that do not
	// fit the budget; empty: none.
	ScratchDir string
	// Attention is the attention algorithm.
	Attention Attention
	// FuseQKV projects query, key and value at once instead of one by one.
	FuseQKV bool
	// Progress is called from time to time with the units of work done, on the goroutine of the call.
	// Its error stops the call, which returns one that wraps it and ErrCancelled. Its panic reaches
	// the caller. It must not end its goroutine, as runtime.Goexit and the FailNow of tests do.
	// Optional.
	Progress func(done, total uint64) error
}

// c converts the options to C, except for Progress; a owns the strings.
func (o *SessionOptions) c(a *args) (c C.vaekl_session_options) {
	C.vaekl_session_options_init(&c, C.sizeof_vaekl_session_options)
	if o == nil {
		return c
	}
	c.memory_budget = C.uint64_t(o.MemoryBudget)
	c.threads = a.number("Threads", o.Threads)
	c.activation_dtype = C.vaekl_dtype(o.ActivationDType)
	c.tiling = C.vaekl_tiling(o.Tiling)
	c.tile_size = a.number("TileSize", o.TileSize)
	c.tile_overlap = a.number("TileOverlap", o.TileOverlap)
	c.scratch_dir = a.optional("ScratchDir", o.ScratchDir)
	c.attention = C.vaekl_attention(o.Attention)
	if o.FuseQKV {
		c.fuse_qkv = 1
	}
	return c
}

// Session runs a model, one call at a time; it owns threads and a workspace, which later calls
// reuse. Any goroutine may use it, but a second concurrent call gets ErrState.
type Session struct {
	object   *object
	session  *C.vaekl_session
	info     ModelInfo
	progress func(done, total uint64) error
	watch    *watch
}

// NewSession makes a session; nil options mean the defaults.
func (m *Model) NewSession(options *SessionOptions) (*Session, error) {
	if err := m.object.enter(false); err != nil {
		return nil, err
	}
	defer m.object.leave(false)
	var a args
	defer a.free()
	c := options.c(&a)
	if a.err != nil {
		return nil, a.err
	}
	watch, weights := new(watch), m.weights
	handle := cgo.NewHandle(watch)
	var session *C.vaekl_session
	var e C.vaekl_error
	status := C.new_session(m.model, &c, C.uintptr_t(handle), &session, &e)
	if err := failure(status, &e); err != nil {
		handle.Delete()
		return nil, err
	}
	weights.share()
	object := newObject("session", func() {
		C.vaekl_session_free(session)
		handle.Delete()
		weights.release()
	})
	s := &Session{object: object, session: session, info: m.info, watch: watch}
	if options != nil {
		s.progress = options.Progress
	}
	return s, nil
}

// call makes a call to C with exclusive use of the session.
func (s *Session) call(ctx context.Context, a *args, f func(*C.vaekl_error) C.vaekl_status) error {
	if err := s.object.enter(true); err != nil {
		return err
	}
	defer s.object.leave(true)
	if a.err != nil {
		return a.err
	}
	return s.watch.run(ctx, s.progress, f)
}

// usable returns an error if the session is closed or in use.
func (s *Session) usable() error {
	err := s.object.enter(true)
	if err == nil {
		s.object.leave(true)
	}
	return err
}

// Memory is the workspace in bytes that the session holds since its last call ended; 0 after Close.
// It may be called while another call uses the session.
func (s *Session) Memory() uint64 {
	if s.object.enter(false) != nil {
		return 0
	}
	defer s.object.leave(false)
	return uint64(C.vaekl_session_memory(s.session))
}

// Close frees the session; a session in use by a call or a stream is freed when that ends. It
// always returns nil.
func (s *Session) Close() error {
	s.object.close()
	return nil
}

// Plan is what a call will need.
type Plan struct {
	WorkspaceBytes uint64 // exact
	ScratchBytes   uint64 // on disk, 0 without a ScratchDir
	// PeakBytes is an upper bound in bytes of what the call adds to the process's memory: workspace,
	// the weights resident at a time, threads, and the library's own lists and code. Memory of the
	// caller and of Go's runtime is not included.
	PeakBytes      uint64
	TilesX, TilesY int  // tiles in a row and in a column, 1 when the picture is worked on whole
	TileSize       int  // latent pixels of a tile's side, 0 without tiles
	Exact          bool // whether the result equals the untiled one
}

// PlanDecode plans a decode of one latent of this size by a session with these options; nil means
// the defaults.
func (m *Model) PlanDecode(options *SessionOptions, width, height int) (Plan, error) {
	return m.plan(options, width, height, func(c *C.vaekl_session_options, width, height C.uint32_t,
		plan *C.vaekl_plan, e *C.vaekl_error) C.vaekl_status {
		return C.vaekl_plan_decode(m.model, c, width, height, plan, e)
	})
}

// PlanEncode plans an encode of one picture of this size by a session with these options; nil means
// the defaults.
func (m *Model) PlanEncode(options *SessionOptions, width, height int) (Plan, error) {
	return m.plan(options, width, height, func(c *C.vaekl_session_options, width, height C.uint32_t,
		plan *C.vaekl_plan, e *C.vaekl_error) C.vaekl_status {
		return C.vaekl_plan_encode(m.model, c, width, height, plan, e)
	})
}

// plan is the body of PlanDecode and PlanEncode.
func (m *Model) plan(options *SessionOptions, width, height int, f func(c *C.vaekl_session_options,
	width, height C.uint32_t, plan *C.vaekl_plan, e *C.vaekl_error) C.vaekl_status) (Plan, error) {
	if err := m.object.enter(false); err != nil {
		return Plan{}, err
	}
	defer m.object.leave(false)
	var a args
	defer a.free()
	c, w, h := options.c(&a), a.number("width", width), a.number("height", height)
	if a.err != nil {
		return Plan{}, a.err
	}
	plan := C.vaekl_plan{struct_size: C.sizeof_vaekl_plan}
	var e C.vaekl_error
	if err := failure(f(&c, w, h, &plan, &e), &e); err != nil {
		return Plan{}, err
	}
	return Plan{
		WorkspaceBytes: uint64(plan.workspace_bytes),
		ScratchBytes:   uint64(plan.scratch_bytes),
		PeakBytes:      uint64(plan.peak_bytes),
		TilesX:         int(plan.tiles_x),
		TilesY:         int(plan.tiles_y),
		TileSize:       int(plan.tile_size),
		Exact:          plan.exact != 0,
	}, nil
}
