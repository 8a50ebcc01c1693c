// Sends HTTP requests from many clients at once and says how long they took, in one line of JSON.
//
//   load PORT[,PORT…] BODY CLIENTS RATE SECONDS THREADS [SAMPLES]
//
// BODY is the file that every request posts to /infer on 127.0.0.1; clients are dealt out to the ports in turn. RATE is of all clients together, in requests a second, on a
// schedule: a request's time counts from the moment it was due, so a server that stalls is not excused from the requests that
// it kept from being sent. RATE 0: each client sends its next request when the answer is there. "late_p99_us" is how long after
// its time a request left that could leave (its client had its answer): what the generator itself adds, at most.
// SAMPLES gets every request's microseconds as float64, in the order in which they were due (or sent). Exit codes: 0 fine, 1 errors or no answer, 2 wrong usage.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <queue>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

double microseconds(Clock::duration d) { return std::chrono::duration<double, std::micro>(d).count(); }

Clock::duration seconds(double s) { return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s)); }

[[noreturn]] void fail(char const* what) { throw std::system_error(errno, std::generic_category(), what); }

struct Plan {
  std::vector<int> ports;
  int clients = 0, threads = 1;
  double rate = 0, length = 0;
  std::string request;
  char const* samples = nullptr;
};

struct Timed {
  Time at;
  double took = 0;  // microseconds
};

struct Result {
  std::vector<Timed> times;
  std::vector<double> late;  // microseconds
  std::map<std::string, int> errors;
};

/// One kept-alive connection, with at most one request under way.
struct Client {
  int socket = -1;
  Time due{}, began{}, free_since{};
  bool waiting = false;
  std::string received;
};

int connect_to(int port) {
  int const socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (socket < 0 || ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("connect");
  int const yes = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return socket;
}

/// The length of the answer at the start of `text`, 0 while it is not complete; throws when it is no 200.
std::size_t answer_length(std::string const& text) {
  std::size_t const head = text.find("\r\n\r\n");
  if (head == std::string::npos) return 0;
  static constexpr std::string_view name = "content-length:";
  std::size_t length = std::string::npos;
  for (std::size_t line = text.find("\r\n"); line < head; line = text.find("\r\n", line + 2)) {
    char const* const field = text.c_str() + line + 2;
    if (strncasecmp(field, name.data(), name.size()) == 0) length = std::strtoul(field + name.size(), nullptr, 10);
  }
  if (length == std::string::npos) throw std::runtime_error("an answer without a Content-Length");
  if (text.size() < head + 4 + length) return 0;
  if (text.compare(9, 3, "200") != 0) throw std::runtime_error(text.substr(0, text.find("\r\n")) + ": " + text.substr(head + 4));
  return head + 4 + length;
}

/// The clients of one thread, behind one epoll.
class Worker {
 public:
  Worker(Plan const& plan, int first, Time start) : plan_(plan), end_(start + seconds(plan.length)) {
    poll_ = ::epoll_create1(EPOLL_CLOEXEC);
    timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (poll_ < 0 || timer_ < 0) fail("epoll");
    watch(timer_, nullptr);
    clients_.reserve(static_cast<std::size_t>(plan.clients));  // events point at them
    interval_ = seconds(plan.rate > 0 ? plan.clients / plan.rate : 0);
    for (int number = first; number < plan.clients; number += plan.threads)
      clients_.emplace_back().due = start + interval_ * number / plan.clients;
    std::size_t number = static_cast<std::size_t>(first);
    for (Client& client : clients_) {
      client.socket = connect_to(plan.ports[number % plan.ports.size()]);
      number += static_cast<std::size_t>(plan.threads);
      watch(client.socket, &client);
      waiting_for_time_.emplace(client.due, &client);
    }
  }
  Worker(Worker const&) = delete;
  Worker& operator=(Worker const&) = delete;
  ~Worker() {
    for (Client& client : clients_) ::close(client.socket);
    ::close(timer_);
    ::close(poll_);
  }

  Result run() {
    // Requests that are under way at the end are waited for, as long as another half minute.
    for (Time now = Clock::now(); (now < end_ || under_way_ > 0) && now < end_ + seconds(30); now = Clock::now()) {
      send_what_is_due(now);
      arm();
      epoll_event events[64];
      int const count = ::epoll_wait(poll_, events, 64, 1000);
      for (int i = 0; i < count; ++i)
        if (events[i].data.ptr != nullptr) read(*static_cast<Client*>(events[i].data.ptr));
    }
    if (under_way_ > 0) result_.errors["no answer within half a minute"] += under_way_;
    return std::move(result_);
  }

 private:
  using Entry = std::pair<Time, Client*>;

  void watch(int descriptor, Client* client) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = client;
    if (::epoll_ctl(poll_, EPOLL_CTL_ADD, descriptor, &event) != 0) fail("epoll_ctl");
  }

  void send_what_is_due(Time now) {
    while (!waiting_for_time_.empty() && waiting_for_time_.top().first <= now) {
      Client& client = *waiting_for_time_.top().second;
      waiting_for_time_.pop();
      if (client.due < end_) send(client);
    }
  }

  void send(Client& client) {
    Time const now = Clock::now();
    client.began = interval_.count() > 0 ? client.due : now;
    result_.late.push_back(microseconds(now - std::max(client.due, client.free_since)));
    client.waiting = true;
    ++under_way_;
    for (std::size_t sent = 0; sent < plan_.request.size();) {
      ssize_t const count = ::send(client.socket, plan_.request.data() + sent, plan_.request.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return drop(client, std::string("send: ") + std::strerror(errno));
      sent += static_cast<std::size_t>(count);
    }
  }

  void read(Client& client) {
    char piece[64 * 1024];
    ssize_t const count = ::recv(client.socket, piece, sizeof piece, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) return drop(client, count == 0 ? "the server closed a connection" : std::string("recv: ") + std::strerror(errno));
    client.received.append(piece, static_cast<std::size_t>(count));
    try {
      std::size_t const length = answer_length(client.received);
      if (length == 0) return;
      client.received.erase(0, length);
    } catch (std::runtime_error const& error) {
      return drop(client, error.what());
    }
    answered(client, Clock::now());
  }

  void answered(Client& client, Time now) {
    result_.times.push_back({client.began, microseconds(now - client.began)});
    client.waiting = false;
    --under_way_;
    client.free_since = now;
    client.due = interval_.count() > 0 ? client.due + interval_ : now;
    waiting_for_time_.emplace(client.due, &client);
  }

  /// An error ends its connection; the others go on.
  void drop(Client& client, std::string const& why) {
    ++result_.errors[why];
    if (client.waiting) --under_way_;
    client.waiting = false;
    ::epoll_ctl(poll_, EPOLL_CTL_DEL, client.socket, nullptr);
  }

  void arm() {
    if (waiting_for_time_.empty()) return;
    auto const at = std::max<std::int64_t>(1, waiting_for_time_.top().first.time_since_epoch() / std::chrono::nanoseconds(1));
    itimerspec spec{};
    spec.it_value.tv_sec = at / 1000000000;
    spec.it_value.tv_nsec = at % 1000000000;
    ::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);  // steady_clock is CLOCK_MONOTONIC in libstdc++ and libc++
  }

  Plan const& plan_;
  Time end_;
  Clock::duration interval_{};
  int poll_ = -1, timer_ = -1, under_way_ = 0;
  std::vector<Client> clients_;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> waiting_for_time_;
  Result result_;
};
/// The least value that `share` of the sorted samples do not exceed.
double percentile(std::vector<double> const& sorted, double share) {
  if (sorted.empty()) return 0;
  auto const rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::min(std::max<std::size_t>(rank, 1), sorted.size()) - 1];
}

std::string escaped(std::string const& text) {
  std::string made;
  for (char const c : text) {
    if (c == '"' || c == '\\') made += '\\';
    made += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return made;
}

Result run(Plan const& plan) {
  Time const start = Clock::now() + std::chrono::milliseconds(300);  // all clients are connected by then
  std::vector<Result> results(static_cast<std::size_t>(plan.threads));
  std::vector<std::thread> threads;
  for (int i = 0; i < plan.threads; ++i) {
    threads.emplace_back([&plan, &results, i, start] {
      Result& result = results[static_cast<std::size_t>(i)];
      try {
        result = Worker(plan, i, start).run();
      } catch (std::exception const& error) {
        ++result.errors[error.what()];
      }
    });
  }
  Result all;
  for (std::size_t i = 0; i < threads.size(); ++i) {
    threads[i].join();
    all.times.insert(all.times.end(), results[i].times.begin(), results[i].times.end());
    all.late.insert(all.late.end(), results[i].late.begin(), results[i].late.end());
    for (auto const& [what, count] : results[i].errors) all.errors[what] += count;
  }
  std::sort(all.times.begin(), all.times.end(), [](Timed const& a, Timed const& b) { return a.at < b.at; });
  std::sort(all.late.begin(), all.late.end());
  return all;
}

std::vector<double> took(Result const& result) {
  std::vector<double> made;
  for (Timed const& one : result.times) made.push_back(one.took);
  return made;
}

void print(Plan const& plan, Result const& result) {
  std::vector<double> times = took(result);
  std::sort(times.begin(), times.end());
  std::string errors;
  for (auto const& [what, count] : result.errors)
    errors += (errors.empty() ? "\"" : ", \"") + escaped(what) + "\": " + std::to_string(count);
  std::printf(
      "{\"clients\": %d, \"requests\": %zu, \"errors\": {%s}, \"per_second\": %.1f, \"p50_ms\": %.4f, \"p90_ms\": %.4f, "
      "\"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f, \"late_p99_us\": %.1f}\n",
      plan.clients, result.times.size(), errors.c_str(), static_cast<double>(result.times.size()) / plan.length,
      percentile(times, 0.5) / 1000, percentile(times, 0.9) / 1000, percentile(times, 0.99) / 1000,
      percentile(times, 0.999) / 1000, percentile(times, 1) / 1000, percentile(result.late, 0.99));
}

bool parse(char** arguments, Plan& plan) {
  for (char const* text = arguments[0]; text != nullptr && *text != '\0';) {
    plan.ports.push_back(std::atoi(text));
    char const* const comma = std::strchr(text, ',');
    text = comma != nullptr ? comma + 1 : nullptr;
  }
  std::ifstream file(arguments[1], std::ios::binary);
  std::string const body((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  plan.clients = std::atoi(arguments[2]);
  plan.rate = std::atof(arguments[3]);
  plan.length = std::atof(arguments[4]);
  plan.threads = std::min(std::atoi(arguments[5]), plan.clients);
  plan.samples = arguments[6];  // null when it was not given: argv ends with it
  plan.request = "POST /infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\nContent-Length: " +
                 std::to_string(body.size()) + "\r\n\r\n" + body;
  return file && !plan.ports.empty() && *std::min_element(plan.ports.begin(), plan.ports.end()) > 0 && plan.rate >= 0 && plan.length > 0 && plan.threads > 0;
}

}  // namespace

int main(int argc, char** argv) {
  Plan plan;
  if (argc < 7 || argc > 8 || !parse(argv + 1, plan)) {
    std::fprintf(stderr, "usage: load PORT[,PORT] BODY CLIENTS RATE SECONDS THREADS [SAMPLES]\n");
    return 2;
  }
  Result const result = run(plan);
  print(plan, result);
  if (plan.samples != nullptr) {
    std::ofstream file(plan.samples, std::ios::binary);
    std::vector<double> const times = took(result);
    file.write(reinterpret_cast<char const*>(times.data()), static_cast<std::streamsize>(times.size() * sizeof(double)));
    if (!file.flush()) {
      std::fprintf(stderr, "%s cannot be written\n", plan.samples);
      return 1;
    }
  }
  return result.errors.empty() && !result.times.empty() ? 0 : 1;
}
