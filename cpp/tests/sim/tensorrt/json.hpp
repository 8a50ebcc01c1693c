// A small JSON reader for simulated plans. Values are immutable; asking for a key that is not there gives null.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace simtrt {

class Json {
public:
    enum class Kind { null, boolean, integer, real, text, list, object };

    static Json parse(std::string const& text);

    Kind kind() const { return kind_; }
    bool is_null() const { return kind_ == Kind::null; }
    bool boolean(bool fallback = false) const { return kind_ == Kind::boolean ? integer_ != 0 : fallback; }
    int64_t integer(int64_t fallback = 0) const {
        if (kind_ == Kind::real) return static_cast<int64_t>(real_);
        return kind_ == Kind::integer ? integer_ : fallback;
    }
    double real(double fallback = 0) const {
        if (kind_ == Kind::integer) return static_cast<double>(integer_);
        return kind_ == Kind::real ? real_ : fallback;
    }
    std::string const& text() const { return text_; }
    std::string text(std::string const& fallback) const { return kind_ == Kind::text ? text_ : fallback; }
    std::vector<Json> const& list() const { return list_; }
    std::vector<int64_t> integers() const;
    std::vector<double> reals() const;
    Json const& operator[](std::string const& key) const;

private:
    friend class JsonReader;
    Kind kind_ = Kind::null;
    int64_t integer_ = 0;
    double real_ = 0;
    std::string text_;
    std::vector<Json> list_;
    std::map<std::string, Json> object_;
};

}  // namespace simtrt
