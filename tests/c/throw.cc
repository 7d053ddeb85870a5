/* Exceptions that are thrown and caught in the same half, through frames with destructors. */
#include <stdexcept>
#include <string>

namespace {
struct Count {
    long &n;
    ~Count() { n++; }
};

long deeper(long depth, long &unwound)
{
    Count count{unwound};
    if (depth == 0)
        throw std::runtime_error("thrown " + std::to_string(unwound));
    return deeper(depth - 1, unwound) + 1;
}
} // namespace

/* Gives how many frames were unwound on the way to the handler, or -1. */
extern "C" long throw_and_catch(long depth)
{
    long unwound = 0;
    try {
        deeper(depth, unwound);
    } catch (const std::runtime_error &e) {
        try {
            throw std::string(e.what());
        } catch (const std::string &what) {
            return what == "thrown 0" ? unwound : -1;
        }
    }
    return -1;
}
