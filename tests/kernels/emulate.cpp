// Runs the CUDA kernels without a GPU, one thread of the host for each of a block's, and compares them with plain loops
// in f64: .ci/kernels. Deliberately not here: speed, and what only a card can show (tests/device_parity.rs does, there).
#include <barrier>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

struct Dim { unsigned x, y; };
static thread_local Dim threadIdx, blockIdx;
static Dim blockDim, gridDim;
static std::unique_ptr<std::barrier<>> whole;
static std::vector<std::unique_ptr<std::barrier<>>> warps;
static float lanes[32][32];
static int flags[1024];

#define __device__
#define __global__
#define __shared__ static
static unsigned __float_as_uint(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
static float __uint_as_float(unsigned u) { float x; memcpy(&x, &u, 4); return x; }
static void __syncthreads() { whole->arrive_and_wait(); }
static int __syncthreads_or(int x) {
  flags[threadIdx.x] = x;
  whole->arrive_and_wait();
  int any = 0;
  for (unsigned i = 0; i < blockDim.x; i++) any |= flags[i];
  whole->arrive_and_wait();
  return any;
}
static float __shfl_xor_sync(unsigned, float x, int o) {
  unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  lanes[warp][lane] = x;
  warps[warp]->arrive_and_wait();
  float y = lanes[warp][lane ^ o];
  warps[warp]->arrive_and_wait();
  return y;
}
#include "../../src/model/ops/cuda/kernels.cu"

static void launch(Dim grid, unsigned block, const std::function<void()> &kernel) {
  gridDim = grid;
  blockDim = {block, 1};
  for (unsigned y = 0; y < grid.y; y++)
    for (unsigned x = 0; x < grid.x; x++) {
      whole = std::make_unique<std::barrier<>>(block);
      warps.clear();
      for (unsigned w = 0; w < block / 32; w++) warps.push_back(std::make_unique<std::barrier<>>(32));
      std::vector<std::thread> threads;
      for (unsigned t = 0; t < block; t++)
        threads.emplace_back([=, &kernel] {
          threadIdx = {t, 0};
          blockIdx = {x, y};
          kernel();
        });
      for (auto &t : threads) t.join();
    }
}
static void each(size_t count, const std::function<void()> &kernel) { launch({(unsigned)((count + 31) / 32), 1}, 32, kernel); }

static std::mt19937 random_bits(7);
template <class T> static std::vector<T> draw(size_t n, float size = 1.0f) {
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<T> out(n);
  for (auto &x : out) x = narrow<T>(normal(random_bits));
  return out;
}
static int faults = 0;
template <class T> static void near(const char *name, const std::vector<T> &got, const std::function<double(size_t)> &expected) {
  double off = 0, size = 1e-30, tolerance = sizeof(T) == 2 ? 4e-3 : 2e-6;
  for (size_t i = 0; i < got.size(); i++) {
    double d = wide(got[i]) - expected(i);
    off += d * d;
    size += expected(i) * expected(i);
  }
  off = std::sqrt(off / size);
  bool good = off < tolerance; // not a number is no less
  printf("%-24s %s off by %.1e%s\n", name, sizeof(T) == 2 ? "bf16" : "f32 ", off, good ? "" : "  WRONG");
  faults += !good;
}

template <class T> static void norms(bool centred) {
  const size_t rows = 5, n = 150, height = 2, chunks = 3;
  const float eps = 1e-5f;
  auto x = draw<T>(rows * n), grad = draw<T>(rows * n);
  auto w = draw<float>(n), b = draw<float>(n);
  std::vector<T> out(rows * n), dx(rows * n);
  std::vector<float> stats(2 * rows), dw(chunks * n), db(chunks * n);
  launch({rows, 1}, 64, [&] {
    if (centred) norm_forward<T, true>(x.data(), w.data(), b.data(), out.data(), stats.data(), n, eps);
    else norm_forward<T, false>(x.data(), w.data(), w.data(), out.data(), stats.data(), n, eps);
  });
  launch({rows, 1}, 64, [&] {
    if (centred) norm_backward<T, true>(x.data(), w.data(), grad.data(), stats.data(), dx.data(), n);
    else norm_backward<T, false>(x.data(), w.data(), grad.data(), stats.data(), dx.data(), n);
  });
  launch({(n + 63) / 64, chunks}, 64, [&] {
    norm_weights<T>(x.data(), grad.data(), stats.data(), dw.data(), db.data(), rows, n, height);
  });
  std::vector<double> y(rows * n), slope(rows), level(rows), r(rows), sw(n), sb(n);
  for (size_t i = 0; i < rows; i++) {
    double mean = 0, square = 0;
    for (size_t j = 0; j < n; j++) mean += centred ? wide(x[i * n + j]) / (double)n : 0;
    for (size_t j = 0; j < n; j++) square += std::pow(wide(x[i * n + j]) - mean, 2) / n;
    r[i] = 1 / std::sqrt(square + eps);
    for (size_t j = 0; j < n; j++) {
      y[i * n + j] = (wide(x[i * n + j]) - mean) * r[i];
      double g = wide(grad[i * n + j]), h = g * w[j];
      level[i] += centred ? h / n : 0;
      slope[i] += h * y[i * n + j] / n;
      sw[j] += g * y[i * n + j];
      sb[j] += g;
    }
  }
  auto sum = [&](const std::vector<float> &parts) {
    std::vector<float> total(n);
    for (size_t i = 0; i < chunks * n; i++) total[i % n] += parts[i];
    return total;
  };
  near<T>(centred ? "layer norm" : "rms norm", out, [&](size_t i) { return y[i] * w[i % n] + (centred ? b[i % n] : 0); });
  near<T>("  its dx", dx, [&](size_t i) {
    return r[i / n] * (wide(grad[i]) * w[i % n] - level[i / n] - y[i] * slope[i / n]);
  });
  near<float>("  its dw", sum(dw), [&](size_t j) { return sw[j]; });
  near<float>("  its db", sum(db), [&](size_t j) { return sb[j]; });
}

template <class T> static void pointwise() {
  const size_t n = 1001;
  auto a = draw<T>(n, 3), b = draw<T>(n), g = draw<T>(n);
  auto wide_x = draw<float>(n);
  std::vector<T> out(n), da(n), db(n);
  std::vector<float> sum(n);
  auto v = [](T x) { return (double)wide(x); };
  auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  each(n, [&] { swiglu_forward<T>(a.data(), b.data(), out.data(), n); });
  near<T>("swiglu", out, [&](size_t i) { return v(a[i]) * sigmoid(v(a[i])) * v(b[i]); });
  each(n, [&] { swiglu_backward<T>(a.data(), b.data(), g.data(), da.data(), db.data(), n); });
  near<T>("  its gate", da, [&](size_t i) {
    auto f = [&](double x) { return x * sigmoid(x); };
    return v(g[i]) * v(b[i]) * (f(v(a[i]) + 1e-5) - f(v(a[i]) - 1e-5)) / 2e-5;
  });
  near<T>("  its up", db, [&](size_t i) { return v(g[i]) * v(a[i]) * sigmoid(v(a[i])); });
  auto gelu = [](double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); };
  each(n, [&] { gelu_forward<T>(a.data(), out.data(), n); });
  near<T>("gelu", out, [&](size_t i) { return gelu(v(a[i])); });
  each(n, [&] { gelu_backward<T>(a.data(), g.data(), da.data(), n); });
  near<T>("  its dx", da, [&](size_t i) { return v(g[i]) * (gelu(v(a[i]) + 1e-5) - gelu(v(a[i]) - 1e-5)) / 2e-5; });
  each(n, [&] { add_to_wide<T>(wide_x.data(), a.data(), sum.data(), n); });
  near<float>("add to wide", sum, [&](size_t i) { return wide_x[i] + v(a[i]); });
}

template <class T> static void positions() {
  const size_t batch = 2, time = 5, heads = 3, half = 4, n = batch * time * heads * 2 * half;
  auto x = draw<T>(n);
  std::vector<T> out(n), back(n), swapped(n);
  std::vector<float> c(time * half), s(time * half);
  for (size_t i = 0; i < c.size(); i++) c[i] = std::cos(0.3 * i), s[i] = std::sin(0.3 * i);
  each(n / 2, [&] { rope<T>(x.data(), c.data(), s.data(), out.data(), n / 2, time, heads, half, 1.0f); });
  near<T>("rope", out, [&](size_t i) {
    size_t j = i % (2 * half), t = i / (2 * half * heads) % time, angle = t * half + j % half;
    double own = wide(x[i]), other = wide(x[j < half ? i + half : i - half]);
    return own * c[angle] + (j < half ? -other : other) * s[angle];
  });
  each(n / 2, [&] { rope<T>(out.data(), c.data(), s.data(), back.data(), n / 2, time, heads, half, -1.0f); });
  near<T>("  and back", back, [&](size_t i) { return (double)wide(x[i]); });
  each(n, [&] { swap_middle<T>(x.data(), swapped.data(), n, time, heads, 2 * half); });
  near<T>("swap middle", swapped, [&](size_t i) {
    size_t k = i % 8, t = i / 8 % time, h = i / 8 / time % heads, b = i / 8 / time / heads;
    return (double)wide(x[((b * time + t) * heads + h) * 8 + k]);
  });
}

template <class T> static void softmaxes() {
  const size_t time = 3, keys = 75, rows = 2 * time;
  const float scale = 0.4f;
  auto s = draw<T>(rows * keys, 4), dp = draw<T>(rows * keys);
  std::vector<T> p(rows * keys), ds(rows * keys);
  launch({rows, 1}, 64, [&] { softmax_forward<T>(s.data(), p.data(), time, keys, scale); });
  auto seen = [&](size_t i) { return i % keys < keys - time + i / keys % time + 1; };
  std::vector<double> sum(rows), dot(rows);
  for (size_t i = 0; i < rows * keys; i++) sum[i / keys] += seen(i) ? std::exp(wide(s[i]) * (double)scale) : 0;
  near<T>("softmax", p, [&](size_t i) { return seen(i) ? std::exp(wide(s[i]) * (double)scale) / sum[i / keys] : 0; });
  launch({rows, 1}, 64, [&] { softmax_backward<T>(p.data(), dp.data(), ds.data(), time, keys, scale); });
  for (size_t i = 0; i < rows * keys; i++) dot[i / keys] += (double)wide(p[i]) * wide(dp[i]);
  near<T>("  its scores", ds, [&](size_t i) { return seen(i) ? scale * wide(p[i]) * (wide(dp[i]) - dot[i / keys]) : 0; });
}

template <class T> static void losses() {
  const size_t rows = 4, vocab = 203;
  auto logits = draw<T>(rows * vocab, 3);
  auto d = logits;
  std::vector<unsigned> targets = {5, 202, 4000000000u, 77};
  std::vector<float> weights = {1, 0.5f, 0, 2}, loss(rows);
  launch({rows, 1}, 96, [&] { cross_entropy<T>(d.data(), targets.data(), weights.data(), loss.data(), vocab); });
  std::vector<double> sum(rows);
  for (size_t i = 0; i < rows * vocab; i++) sum[i / vocab] += std::exp((double)wide(logits[i]));
  near<float>("cross-entropy", loss, [&](size_t r) {
    return weights[r] ? weights[r] * (std::log(sum[r]) - wide(logits[r * vocab + targets[r]])) : 0;
  });
  near<T>("  its logits", d, [&](size_t i) {
    size_t r = i / vocab;
    return weights[r] * (std::exp((double)wide(logits[i])) / sum[r] - (i % vocab == targets[r]));
  });
  std::vector<unsigned> beyond = {5, 203, 0, 0};
  d = logits;
  launch({rows, 1}, 96, [&] { cross_entropy<T>(d.data(), beyond.data(), weights.data(), loss.data(), vocab); });
  if (!std::isnan(loss[1])) printf("a target beyond the vocabulary went unnoticed\n"), faults++;
}

template <class T> static void tables() {
  const size_t tokens = 600, width = 40, vocab = 7;
  auto grad = draw<T>(tokens * width);
  std::vector<unsigned> ids(tokens);
  for (size_t i = 0; i < tokens; i++) ids[i] = i < 300 ? i * i % 5 : 6; // row 5 is never used
  std::vector<T> table(vocab * width);
  launch({vocab, 1}, 32, [&] { embedding_backward<T>(ids.data(), grad.data(), table.data(), tokens, width); });
  near<T>("embedding's table", table, [&](size_t i) {
    double sum = 0;
    for (size_t t = 0; t < tokens; t++) sum += ids[t] == i / width ? wide(grad[t * width + i % width]) : 0;
    return sum;
  });
}

static void adamw() {
  const size_t n = 77;
  auto p = draw<float>(n), g = draw<float>(n), m = draw<float>(n), v = draw<float>(n);
  for (auto &x : v) x = std::fabs(x);
  auto p0 = p, m0 = m, v0 = v;
  const double lr = 0.01, decay = 0.1, b1 = 0.9, b2 = 0.99, scale = 0.5, eps = 1e-8, t = 3;
  const double c1 = 1 - std::pow(b1, t), c2 = 1 - std::pow(b2, t);
  each(n, [&] {
    adamw_f32(p.data(), g.data(), m.data(), v.data(), n, scale, 1 - lr * decay, b1, 1 - b1, b2, 1 - b2, 1 / std::sqrt(c2), lr / c1, eps);
  });
  near<float>("adamw", p, [&](size_t i) {
    double gi = g[i] * scale, mi = b1 * m0[i] + (1 - b1) * gi, vi = b2 * v0[i] + (1 - b2) * gi * gi;
    return p0[i] * (1 - lr * decay) - lr * (mi / c1) / (std::sqrt(vi / c2) + eps);
  });
  near<float>("  its moment", m, [&](size_t i) { return b1 * m0[i] + (1 - b1) * g[i] * scale; });
}

template <class T> static void all() {
  norms<T>(false);
  norms<T>(true);
  pointwise<T>();
  positions<T>();
  softmaxes<T>();
  losses<T>();
  tables<T>();
}

int main() {
  all<float>();
  all<half16>();
  adamw();
  printf(faults ? "%d kernels are wrong\n" : "all kernels agree with plain loops\n", faults);
  return faults != 0;
}
