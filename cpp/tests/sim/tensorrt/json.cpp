#include "json.hpp"

#include <cstdlib>

namespace simtrt {

class JsonReader {
public:
    explicit JsonReader(std::string const& text) : text_(text) {}

    Json document() {
        Json value = read();
        blanks();
        if (at_ != text_.size()) fail("something after the end");
        return value;
    }

private:
    [[noreturn]] void fail(char const* what) const { throw std::runtime_error("simulated plan: " + std::string(what) + " at byte " + std::to_string(at_)); }

    void blanks() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
    }

    bool take(char expected) {
        blanks();
        if (at_ >= text_.size() || text_[at_] != expected) return false;
        ++at_;
        return true;
    }

    bool word(char const* expected) {
        std::string const wanted = expected;
        if (text_.compare(at_, wanted.size(), wanted) != 0) return false;
        at_ += wanted.size();
        return true;
    }

    Json read() {
        blanks();
        if (at_ >= text_.size()) fail("end of text");
        Json value;
        char const c = text_[at_];
        if (c == '{') return object();
        if (c == '[') return list();
        if (c == '"') {
            value.kind_ = Json::Kind::text;
            value.text_ = string();
            return value;
        }
        if (word("null")) return value;
        if (c == 't' || c == 'f') {
            value.kind_ = Json::Kind::boolean;
            value.integer_ = c == 't';
            if (!word(c == 't' ? "true" : "false")) fail("unknown word");
            return value;
        }
        return number();
    }

    Json number() {
        char const* const start = text_.c_str() + at_;
        char* end = nullptr;
        Json value;
        value.kind_ = Json::Kind::integer;
        value.integer_ = std::strtoll(start, &end, 10);
        if (*end == '.' || *end == 'e' || *end == 'E') {
            value.kind_ = Json::Kind::real;
            value.real_ = std::strtod(start, &end);
        }
        if (end == start) fail("not a value");
        at_ += static_cast<size_t>(end - start);
        return value;
    }

    std::string string() {
        ++at_;
        std::string out;
        while (at_ < text_.size() && text_[at_] != '"') {
            if (text_[at_] != '\\') {
                out += text_[at_++];
                continue;
            }
            if (++at_ >= text_.size()) fail("escape at the end");
            char const c = text_[at_++];
            switch (c) {
                case 'n': out += '\n'; break;
                case 't': out += '\t'; break;
                case 'r': out += '\r'; break;
                case 'b': out += '\b'; break;
                case 'f': out += '\f'; break;
                // Plans are written as UTF-8 without \u; only the ASCII part of it is understood.
                case 'u': out += static_cast<char>(std::strtol(text_.substr(at_, 4).c_str(), nullptr, 16)); at_ += 4; break;
                default: out += c;
            }
        }
        if (at_ >= text_.size()) fail("string without end");
        ++at_;
        return out;
    }

    Json list() {
        ++at_;
        Json value;
        value.kind_ = Json::Kind::list;
        if (take(']')) return value;
        do value.list_.push_back(read());
        while (take(','));
        if (!take(']')) fail("list without end");
        return value;
    }

    Json object() {
        ++at_;
        Json value;
        value.kind_ = Json::Kind::object;
        if (take('}')) return value;
        do {
            blanks();
            if (at_ >= text_.size() || text_[at_] != '"') fail("key expected");
            std::string const key = string();
            if (!take(':')) fail("colon expected");
            value.object_[key] = read();
        } while (take(','));
        if (!take('}')) fail("object without end");
        return value;
    }

    std::string const& text_;
    size_t at_ = 0;
};

Json Json::parse(std::string const& text) { return JsonReader(text).document(); }

std::vector<int64_t> Json::integers() const {
    std::vector<int64_t> all;
    for (auto const& item : list_) all.push_back(item.integer());
    return all;
}

std::vector<double> Json::reals() const {
    std::vector<double> all;
    for (auto const& item : list_) all.push_back(item.real());
    return all;
}

Json const& Json::operator[](std::string const& key) const {
    static Json const none;
    auto const entry = object_.find(key);
    return entry == object_.end() ? none : entry->second;
}

}  // namespace simtrt
