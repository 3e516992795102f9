#include "health/probe.hpp"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "health/address_book.hpp"
#include "health/connect_error.hpp"
#include "health/probe_sql.hpp"

namespace holdfast::health {

namespace asio = boost::asio;
using asio::posix::stream_descriptor;

namespace {

struct FinishConnection {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
struct ClearResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Connection = std::unique_ptr<PGconn, FinishConnection>;
using QueryResult = std::unique_ptr<PGresult, ClearResult>;

const char* sslmode_of(config::SslMode mode) {
  switch (mode) {
    case config::SslMode::disable: return "disable";
    case config::SslMode::allow: return "allow";
    case config::SslMode::prefer: return "prefer";
    case config::SslMode::require: return "require";
    case config::SslMode::verify_ca: return "verify-ca";
    case config::SslMode::verify_full: return "verify-full";
  }
  return "verify-full";
}

// libpq's messages end in newlines and may have several lines; an operator gets one.
std::string one_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::erase(text, '\t');
  return text;
}

Row row_of(const PGresult* result) {
  Row row;
  const int columns = PQnfields(result);
  for (int column = 0; column < columns; ++column) {
    if (PQgetisnull(result, 0, column) != 0) {
      row.emplace_back();
    } else {
      row.emplace_back(std::string(PQgetvalue(result, 0, column)));
    }
  }
  return row;
}

ProbeResult failed(Grade grade, std::string detail) {
  return {.grade = grade, .detail = std::move(detail)};
}

}  // namespace

class Probe::Impl : public std::enable_shared_from_this<Probe::Impl> {
 public:
  Impl(asio::io_context& context, const config::Member& member, const config::Cluster& cluster)
      : context_(context), member_(member), cluster_(cluster), timer_(context), descriptor_(context) {}
  ~Impl() {
    if (descriptor_.is_open()) descriptor_.release();  // libpq's descriptor, never ours to close
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void open_address_book() {
    addresses_ = std::make_shared<AddressBook>(context_, member_.host, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->addresses_changed();
    });
  }

  asio::awaitable<ProbeResult> probe(ProbeKind kind, bool fresh, AddressBook::Age names) {
    if (fresh || stale_) close();
    addresses_->refresh_if_old(Clock::now(), names);
    if (connection_) {
      ProbeResult result = co_await query(kind);
      if (result.grade != Grade::connection_lost || interrupted_) co_return result;
    }
    ProbeResult result = co_await connect_and_probe();
    result.reconnected = true;
    co_return result;
  }

  asio::awaitable<Wake> idle(TimePoint until) {
    while (!interrupted_ && !poked_ && Clock::now() < until) {
      if (!connection_) {
        co_await sleep(until, Until::poked);
        continue;
      }
      const bool readable = co_await ready(stream_descriptor::wait_read, until, Until::poked);
      if (readable && !still_there()) {
        close();
        co_return Wake::lost;
      }
    }
    co_return std::exchange(poked_, false) ? Wake::poked : Wake::due;
  }

  void poke() {
    poked_ = true;
    timer_.cancel();
  }

  void interrupt() {
    interrupted_ = true;
    timer_.cancel();
  }

  void close() {
    connection_.reset();
    constants_.reset();
    ending_.clear();
    stale_ = false;
  }

  void configure(const config::Member& member, const config::Cluster& cluster) {
    const bool moved = member.host != member_.host || member.port != member_.port;
    const bool same = !moved && cluster.monitor.user == cluster_.monitor.user &&
                      cluster.monitor.password == cluster_.monitor.password &&
                      cluster.monitor.database == cluster_.monitor.database && cluster.tls == cluster_.tls;
    member_ = member;
    cluster_ = cluster;
    if (moved) {
      answered_at_.clear();
      open_address_book();
    }
    interrupted_ = false;
    if (!same) stale_ = true;
    poke();
  }

  // Where it answered last; before that, the address to try.
  [[nodiscard]] const std::string& address() const {
    return answered_at_.empty() ? addresses_->current() : answered_at_;
  }
  [[nodiscard]] const AddressBook& addresses() const { return *addresses_; }
  [[nodiscard]] std::uint64_t connects() const { return connects_; }

 private:
  enum class Until : std::uint8_t { deadline, poked };  // what ends a wait besides what is waited for

  // Waits for the time or for a cancelled timer; a flag has the reason.
  asio::awaitable<void> sleep(TimePoint until, Until early) {
    if (interrupted_ || (early == Until::poked && poked_)) co_return;
    timer_.expires_at(until);
    co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  }

  // Waits for libpq's socket. Assigned for this wait only, because libpq may open another one at every step.
  asio::awaitable<bool> ready(stream_descriptor::wait_type what, TimePoint deadline, Until early) {
    boost::system::error_code error;
    descriptor_.assign(PQsocket(connection_.get()), error);
    if (error) co_return false;
    const std::uint64_t turn = ++turn_;
    ready_ = false;
    descriptor_.async_wait(what, [self = shared_from_this(), turn](boost::system::error_code) {
      if (turn != self->turn_) return;  // that wait is over
      self->ready_ = true;
      self->timer_.cancel();
    });
    while (!ready_ && !interrupted_ && !(early == Until::poked && poked_) && Clock::now() < deadline) {
      co_await sleep(deadline, early);
    }
    ++turn_;
    descriptor_.release();
    co_return ready_ || is_ready_now(what);
  }

  // After a pause of this process (a stopped VM, a loop that lagged) the timer and the socket come due together, and
  // the timer may be served first; what has arrived by then is not late.
  bool is_ready_now(stream_descriptor::wait_type what) {
    if (interrupted_) return false;
    pollfd now{.fd = PQsocket(connection_.get()),
               .events = static_cast<short>(what == stream_descriptor::wait_read ? POLLIN : POLLOUT),
               .revents = 0};
    return ::poll(&now, 1, 0) == 1;
  }

  // Reads what came on the idle connection. False: its end, or the announcement of it.
  bool still_there() {
    ending_.clear();
    if (PQconsumeInput(connection_.get()) == 0) return false;
    while (PQisBusy(connection_.get()) == 0) {  // parses notices and parameters
      const QueryResult result(PQgetResult(connection_.get()));
      if (!result) break;
    }
    while (PGnotify* notification = PQnotifies(connection_.get())) PQfreemem(notification);
    return PQstatus(connection_.get()) == CONNECTION_OK && ending_.empty();
  }

  // An idle session hears of the server's end as a notice: 57P01 and 57P02 (FAILOVER, "what each error means").
  static void on_notice(void* self, const PGresult* notice) {
    const char* state = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
    if (state != nullptr && std::string_view(state).starts_with("57P0")) static_cast<Impl*>(self)->ending_ = state;
  }

  void addresses_changed() {
    if (connection_ && !addresses_->contains(connected_to_)) stale_ = true;  // the name leads to another server now
    poke();
  }

  asio::awaitable<ProbeResult> connect_and_probe() {
    const TimePoint deadline = Clock::now() + cluster_.monitor.connect_timeout;
    while (addresses_->current().empty() && addresses_->resolving() && !interrupted_ && Clock::now() < deadline) {
      co_await sleep(deadline, Until::poked);
      poked_ = false;  // by the lookup's end, or by a caller that wants the probe that is under way
    }
    if (addresses_->current().empty()) {
      addresses_->refresh(Clock::now());
      co_return failed(Grade::dns, "no address for " + member_.host + ": " +
                                       (addresses_->error() ? addresses_->error().message() : "no answer in time"));
    }
    ProbeResult result = co_await connect(deadline, Session::ordinary);
    // Walsenders have slots of their own. Needs the REPLICATION attribute; without it the first result stands.
    if (result.grade == Grade::too_many) {
      const ProbeResult second = co_await connect(Clock::now() + cluster_.monitor.connect_timeout, Session::walsender);
      if (second.grade == Grade::ok) result = second;
    }
    if (result.grade != Grade::ok) {
      close();
      if (result.grade != Grade::starting && result.grade != Grade::too_many) addresses_->failed(Clock::now());
      co_return result;
    }
    co_return co_await query(ProbeKind::full);
  }

  enum class Session : std::uint8_t { ordinary, walsender };

  asio::awaitable<ProbeResult> connect(TimePoint deadline, Session session) {
    close();
    ++connects_;
    connected_to_ = addresses_->current();
    start(session);
    if (!connection_) co_return failed(Grade::own_shortage, "out of memory");
    PQsetErrorVerbosity(connection_.get(), PQERRORS_SQLSTATE);
    PQsetNoticeReceiver(connection_.get(), &Impl::on_notice, this);
    // PQconnectStart says: behave as if PQconnectPoll had said "writing" (manual, 34.1).
    PostgresPollingStatusType status =
        PQstatus(connection_.get()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
      const auto what = status == PGRES_POLLING_READING ? stream_descriptor::wait_read : stream_descriptor::wait_write;
      const bool is_ready = co_await ready(what, deadline, Until::deadline);
      if (!is_ready) {
        co_return failed(Grade::connect_timeout, "no login at " + connected_to_ + " within " +
                                                     std::to_string(cluster_.monitor.connect_timeout.count()) + " ms");
      }
      status = PQconnectPoll(connection_.get());
    }
    if (status == PGRES_POLLING_FAILED) {
      std::string message = PQerrorMessage(connection_.get());
      const Grade grade = grade_connect_error(message);
      co_return failed(grade, one_line(std::move(message)));
    }
    if (PQsetnonblocking(connection_.get(), 1) != 0)
      co_return failed(Grade::own_shortage, "libpq could not make its connection non-blocking");
    co_return ProbeResult{};
  }

  void start(Session session) {
    const std::string port = std::to_string(member_.port);
    const std::string user_timeout = std::to_string(cluster_.monitor.query_timeout.count());
    const bool local = connected_to_.starts_with('/') || connected_to_.starts_with('@');
    std::vector<const char*> keys;
    std::vector<const char*> values;
    const auto set = [&](const char* key, const char* value) {  // libpq takes an empty value for none
      keys.push_back(key);
      values.push_back(value);
    };
    set("host", member_.host.c_str());  // for certificates; beside hostaddr it is not looked up
    if (!local) set("hostaddr", connected_to_.c_str());
    set("port", port.c_str());
    set("user", cluster_.monitor.user.c_str());
    set("password", cluster_.monitor.password.reveal().c_str());
    set("dbname", cluster_.monitor.database.c_str());
    set("sslmode", sslmode_of(cluster_.tls.mode));
    set("sslrootcert", cluster_.tls.ca.c_str());
    set("sslcert", cluster_.tls.certificate.c_str());
    set("sslkey", cluster_.tls.key.c_str());
    set("application_name", "holdfast monitor");
    set("gssencmode", "disable");  // would block on Kerberos
    // A silent peer is given up by the kernel too, should no probe be under way (manual, 34.1.2).
    set("keepalives", "1");
    set("keepalives_idle", "1");
    set("keepalives_interval", "1");
    set("keepalives_count", "3");
    set("tcp_user_timeout", user_timeout.c_str());
    set("target_session_attrs", "any");
    if (session == Session::walsender) set("replication", "database");
    keys.push_back(nullptr);
    values.push_back(nullptr);
    connection_.reset(PQconnectStartParams(keys.data(), values.data(), 0));
  }

  asio::awaitable<ProbeResult> query(ProbeKind kind) {
    const TimePoint deadline = Clock::now() + cluster_.monitor.query_timeout;
    const bool first = !constants_;
    const bool full = first || kind == ProbeKind::full;
    const TimePoint sent = Clock::now();
    if (PQsendQuery(connection_.get(), first ? state_and_constants_sql : full ? state_sql : position_sql) == 0) {
      co_return lost();
    }
    int unsent = 0;
    while ((unsent = PQflush(connection_.get())) == 1) {
      const bool writable = co_await ready(stream_descriptor::wait_write, deadline, Until::deadline);
      if (!writable) co_return overdue();
    }
    if (unsent != 0) co_return lost();

    QueryResult answer;
    while (true) {
      while (PQisBusy(connection_.get()) == 0) {
        QueryResult result(PQgetResult(connection_.get()));
        if (!result) co_return judge(answer.get(), full, sent);
        if (!answer) answer = std::move(result);
      }
      const bool readable = co_await ready(stream_descriptor::wait_read, deadline, Until::deadline);
      if (!readable) co_return overdue();
      if (PQconsumeInput(connection_.get()) == 0) co_return lost();
    }
  }

  ProbeResult judge(const PGresult* answer, bool full, TimePoint sent) {
    if (PQstatus(connection_.get()) != CONNECTION_OK || answer == nullptr) return lost();
    ProbeResult result{.sent = sent, .received = Clock::now()};
    if (PQresultStatus(answer) != PGRES_TUPLES_OK || PQntuples(answer) != 1) {
      const char* state = PQresultErrorField(answer, PG_DIAG_SQLSTATE);
      if (state != nullptr && std::string_view(state).starts_with("57P0")) return lost();
      return failed(Grade::query_failed, "the monitor's query failed: " + one_line(PQresultErrorMessage(answer)));
    }
    const Row row = row_of(answer);
    if (full) {
      if (!constants_) constants_ = read_constants(row, PQserverVersion(connection_.get()));
      if (constants_) result.observation = read_state(row, *constants_);
      if (!result.observation)
        return failed(Grade::query_failed, "the monitor's query returned a row that can't be read");
      result.position = Position{.in_recovery = result.observation->in_recovery, .lsn = result.observation->lsn};
    } else {
      result.position = read_position(row);
      if (!result.position) return failed(Grade::query_failed, "the monitor's query returned a row that can't be read");
    }
    answered_at_ = connected_to_;
    if (stale_) close();  // with the next probe, a new connection
    return result;
  }

  ProbeResult lost() {
    std::string detail = "connection lost";
    if (connection_) detail += ": " + one_line(PQerrorMessage(connection_.get()));
    if (!ending_.empty()) detail += " (" + ending_ + ")";
    close();
    return failed(Grade::connection_lost, std::move(detail));
  }

  ProbeResult overdue() {
    close();
    return failed(Grade::query_timeout,
                  "no answer within " + std::to_string(cluster_.monitor.query_timeout.count()) + " ms");
  }

  asio::io_context& context_;
  config::Member member_;
  config::Cluster cluster_;
  asio::steady_timer timer_;
  stream_descriptor descriptor_;
  std::shared_ptr<AddressBook> addresses_;
  Connection connection_;
  std::optional<ServerConstants> constants_;  // of the connection
  std::string connected_to_;
  std::string answered_at_;
  std::string ending_;  // SQLSTATE of the server's announcement that it ends the session
  std::uint64_t turn_ = 0;
  std::uint64_t connects_ = 0;
  bool ready_ = false;
  bool poked_ = false;
  bool interrupted_ = false;
  bool stale_ = false;  // the connection was made with settings, or to an address, that are no longer valid
};

Probe::Probe(asio::io_context& context, const config::Member& member, const config::Cluster& cluster)
    : impl_(std::make_shared<Impl>(context, member, cluster)) {
  impl_->open_address_book();
}
Probe::~Probe() {
  impl_->interrupt();
}

asio::awaitable<ProbeResult> Probe::probe(ProbeKind kind, bool fresh, AddressBook::Age names) {
  return impl_->probe(kind, fresh, names);
}
asio::awaitable<Wake> Probe::idle(TimePoint until) {
  return impl_->idle(until);
}
void Probe::poke() {
  impl_->poke();
}
void Probe::close() {
  impl_->close();
}
void Probe::interrupt() {
  impl_->interrupt();
}
void Probe::configure(const config::Member& member, const config::Cluster& cluster) {
  impl_->configure(member, cluster);
}
const std::string& Probe::address() const {
  return impl_->address();
}
std::uint64_t Probe::connects() const {
  return impl_->connects();
}
boost::system::error_code Probe::dns_error() const {
  return impl_->addresses().error();
}

}  // namespace holdfast::health
