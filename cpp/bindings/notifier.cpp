// Between C++ threads that must not wait for the GIL and Python: a graveyard for references, and
// one thread that runs Python callbacks in batches.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "pool.hpp"

namespace cuready::python {
namespace {

using Arrays = std::vector<std::unique_ptr<ArrayView>>;

struct Graveyard {
  std::mutex mutex;
  std::vector<Arrays*> buried;
  std::atomic<bool> occupied{false};
  bool scheduled = false;
};

Graveyard& graveyard() {
  static auto* place = new Graveyard();  // used until the very end of the process
  return *place;
}

void unschedule() {
  std::lock_guard<std::mutex> lock(graveyard().mutex);
  graveyard().scheduled = false;
}

int clear_graveyard(void*) {
  unschedule();
  release_buried();
  return 0;
}

class Notifier {
 public:
  void push(PyObject* callback, PyObject* argument) {
    if (in_forked_process()) return;  // the thread does not exist
    std::lock_guard<std::mutex> lock(mutex_);
    if (stopped_) return;  // the interpreter is ending; the references are left to it
    queue_.emplace_back(callback, argument);
    if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
    wake_.notify_one();
  }

  /// Runs what is queued and ends the thread. GIL held; called once, at interpreter exit.
  void stop() {
    if (in_forked_process()) return;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopped_ = true;
      wake_.notify_one();
    }
    Unlocked unlocked;
    if (thread_.joinable()) thread_.join();
  }

 private:
  void loop() {
    std::vector<std::pair<PyObject*, PyObject*>> batch;
    for (;;) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return stopped_ || !queue_.empty(); });
        if (queue_.empty()) return;
        batch.swap(queue_);
      }
      PyGILState_STATE const state = PyGILState_Ensure();
      for (auto const& [callback, argument] : batch) {
        PyObject* result = PyObject_CallOneArg(callback, argument);
        if (result == nullptr) PyErr_WriteUnraisable(callback);
        Py_XDECREF(result);
        Py_DECREF(callback);
        Py_DECREF(argument);
      }
      PyGILState_Release(state);
      batch.clear();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::pair<PyObject*, PyObject*>> queue_;
  std::thread thread_;
  bool stopped_ = false;
};

Notifier& notifier() {
  static auto* one = new Notifier();
  return *one;
}

}  // namespace

void bury(Arrays* arrays) noexcept {
  bool schedule = false;
  {
    std::lock_guard<std::mutex> lock(graveyard().mutex);
    graveyard().buried.push_back(arrays);
    graveyard().occupied = true;
    schedule = !graveyard().scheduled;
    graveyard().scheduled = true;
  }
  // Pending calls are the main thread's, which may wait for others all the time, and their queue is short: whoever
  // submits next or takes a result does not wait for them.
  if (schedule && !interpreter_is_ending() && Py_AddPendingCall(&clear_graveyard, nullptr) != 0) unschedule();
}

void release_buried() noexcept {
  if (!graveyard().occupied.load(std::memory_order_relaxed) || in_forked_process()) return;
  std::vector<Arrays*> buried;
  {
    std::lock_guard<std::mutex> lock(graveyard().mutex);
    buried.swap(graveyard().buried);
    graveyard().occupied = false;
  }
  for (Arrays* arrays : buried) delete arrays;
}

void notify_later(PyObject* callback, PyObject* argument) noexcept { notifier().push(callback, argument); }

void bind_notifier(py::module_& module) {
  module.def("_stop_notifier", [] { notifier().stop(); });
  py::module_::import("atexit").attr("register")(module.attr("_stop_notifier"));
}

}  // namespace cuready::python
