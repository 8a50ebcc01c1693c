// Serves one plan over HTTP/1.1, one thread a connection: what examples/asgi_server does, in C++.
//
//   cpp_http PLAN [PORT]     port 0, the default, takes a free one; the address is printed
//
// POST /infer takes the bytes of the engine's input in C order and answers with those of its output. An input whose
// first extent is dynamic takes as many rows as the bytes hold. The engine must have one input and one output.
// It speaks as much HTTP as a program inside a trusted network needs: requests with a Content-Length, kept-alive
// connections. It ends on SIGINT or SIGTERM. Exit codes: 0 fine, 1 something could not be done, 2 wrong usage.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <csignal>
#include <cstddef>
#include <cuready/cuready.hpp>
#include <utility>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kMaxHead = 16 * 1024;  // bytes of a request's header

/// A request that is answered with an error, after which the connection is closed.
struct BadRequest : std::runtime_error {
  BadRequest(const char* status_line, const std::string& reason) : std::runtime_error(reason), status(status_line) {}
  const char* status;
};

class Model {
 public:
  explicit Model(const std::string& plan) : engine_(cuready::load_engine(cuready::Library::open(), plan)) {
    if (engine_->inputs().size() != 1 || engine_->outputs().size() != 1) {
      throw std::runtime_error(plan + ": this server takes engines with one input and one output");
    }
    input_ = engine_->tensors()[static_cast<std::size_t>(engine_->inputs()[0])];
    largest_ = input_.shape.is_dynamic() ? input_.profiles.back().max : input_.shape;
    cuready::PoolOptions options;
    options.max_pending = 1024;
    options.spin = false;
    pool_ = engine_->create_pool(options);
  }

  std::size_t max_bytes() const { return input_.bytes_for(largest_); }

  /// The output's bytes for the input's.
  std::string infer(std::vector<char>& body) {
    cuready::Dims shape = largest_;
    if (input_.shape.is_dynamic()) {
      shape[0] = 1;
      const std::size_t row = input_.bytes_for(shape);
      if (body.empty() || body.size() % row != 0) {
        throw BadRequest("400 Bad Request", "the body is not a whole number of rows of " + std::to_string(row));
      }
      shape[0] = static_cast<std::int64_t>(body.size() / row);
    } else if (body.size() != max_bytes()) {
      throw BadRequest("400 Bad Request", "the input has " + std::to_string(max_bytes()) + " bytes");
    }
    cuready::PoolRequest request;
    request.inputs = {{body.data(), input_.dtype, shape, cuready::TensorLocation::host, -1, body.size()}};
    request.outputs_to_host = true;
    const cuready::Future future = pool_->submit(std::move(request));
    const cuready::OutputView& output = future.get().front().view;
    return std::string(static_cast<const char*>(output.data), output.nbytes);
  }

 private:
  std::shared_ptr<cuready::Engine> engine_;
  std::shared_ptr<cuready::ContextPool> pool_;
  cuready::TensorInfo input_;
  cuready::Dims largest_;
};

/// One connection: reads requests and writes answers until either side has had enough.
class Connection {
 public:
  Connection(int socket, Model& model) : socket_(socket), model_(model) {}
  ~Connection() { ::close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void serve() {
    try {
      while (read_head()) {
        std::vector<char> body = read_body();
        answer("200 OK", model_.infer(body));
      }
    } catch (const BadRequest& error) {
      answer(error.status, error.what());
    } catch (const cuready::ShapeError& error) {
      answer("400 Bad Request", error.what());
    } catch (const std::exception& error) {  // must not leave the thread
      answer("500 Internal Server Error", error.what());
    }
  }

 private:
  /// False when the client has closed the connection.
  bool read_head() {
    std::size_t end;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (received_.size() > kMaxHead) throw BadRequest("431 Request Header Fields Too Large", "too long a header");
      if (!receive()) return false;
    }
    head_ = received_.substr(0, end + 2);
    received_.erase(0, end + 4);
    if (head_.compare(0, 12, "POST /infer ") != 0) throw BadRequest("404 Not Found", "there is POST /infer");
    return true;
  }

  std::vector<char> read_body() {
    const std::size_t length = content_length();
    if (length > model_.max_bytes()) {
      throw BadRequest("413 Content Too Large",
                       "the engine takes at most " + std::to_string(model_.max_bytes()) + " bytes");
    }
    while (received_.size() < length) {
      if (!receive()) throw BadRequest("400 Bad Request", "the body ended early");
    }
    std::vector<char> body(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(length));
    received_.erase(0, length);
    return body;
  }

  std::size_t content_length() const {
    static constexpr char kName[] = "content-length:";
    for (std::size_t line = head_.find("\r\n"); line != std::string::npos; line = head_.find("\r\n", line + 2)) {
      const char* text = head_.c_str() + line + 2;
      if (strncasecmp(text, kName, sizeof kName - 1) == 0) return std::strtoul(text + sizeof kName - 1, nullptr, 10);
    }
    throw BadRequest("411 Length Required", "a Content-Length is needed");
  }

  bool receive() {
    const ssize_t count = ::recv(socket_, piece_.data(), piece_.size(), 0);
    if (count > 0) received_.append(piece_.data(), static_cast<std::size_t>(count));
    return count > 0;
  }

  void answer(const char* status, const std::string& body) {
    std::string text =
        std::string("HTTP/1.1 ") + status + "\r\nContent-Type: application/octet-stream\r\nContent-Length: ";
    text += std::to_string(body.size()) + "\r\n\r\n" + body;
    for (std::size_t sent = 0; sent < text.size();) {
      const ssize_t count = ::send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return;  // the client is gone, which the next read will see
      sent += static_cast<std::size_t>(count);
    }
  }

  int socket_;
  Model& model_;
  std::vector<char> piece_ = std::vector<char>(256 * 1024);
  std::string received_, head_;
};

/// A listening socket on 127.0.0.1; prints where it listens.
int listen_on(int port) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  socklen_t size = sizeof address;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener, 1024) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("cannot listen on port " + std::to_string(port) + ": " + std::strerror(errno));
  }
  std::printf("running on http://127.0.0.1:%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return listener;
}

void accept_all(int listener, Model& model) {
  for (;;) {
    const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) {  // out of descriptors until some connection ends, or the client was gone already
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      continue;
    }
    const int yes = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    try {
      std::thread([socket, &model] { Connection(socket, model).serve(); }).detach();
    } catch (const std::system_error& error) {
      std::fprintf(stderr, "a connection was refused: %s\n", error.what());
      ::close(socket);
    }
  }
}

int serve(const std::string& plan, int port) {
  // Signals are taken by this thread alone; all others inherit the mask.
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGINT);
  sigaddset(&ending, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  Model model(plan);
  const int listener = listen_on(port);
  std::thread([listener, &model] { accept_all(listener, model); }).detach();
  int signal = 0;
  sigwait(&ending, &signal);
  std::_Exit(0);  // connections may be in the middle of a request: nothing of theirs may be destroyed
}

}  // namespace

int main(int argc, char** argv) {
  char* end = nullptr;
  const long port = argc > 2 ? std::strtol(argv[2], &end, 10) : 0;
  if (argc < 2 || argc > 3 || (end != nullptr && *end != '\0') || port < 0 || port > 65535) {
    std::fprintf(stderr, "usage: cpp_http PLAN [PORT]\n");
    return 2;
  }
  try {
    return serve(argv[1], static_cast<int>(port));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
