/* A threaded program for the tests, as Threads.class: a JRE has no compiler.
 *     javac --release 17 -d tests/java tests/java/Threads.java
 *
 * Threads each mix a number and keep a map of strings; they meet after every round, and the sum is printed.
 * Arguments: threads, rounds, a file. `ready` is printed after the first round. Rounds beyond the wanted ones do not
 * count; they go on until the file is there.
 */
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicLong;

public final class Threads {
    private static final AtomicLong sum = new AtomicLong();
    private static volatile boolean ended;
    private static volatile int[] garbage; /* something to collect */

    private static long mix(long x) {
        x ^= x >>> 33;
        x *= 0xff51afd7ed558ccdL;
        return x ^ x >>> 29;
    }

    private static void round(Map<String, Long> map, long t, long n) {
        long x = mix(t * 1000003 + n);
        for (int i = 0; i < 200; i++) {
            x = mix(x + i);
            String key = "k" + Long.remainderUnsigned(x, 500);
            map.merge(key, x, Long::sum);
        }
        long total = 0;
        for (long value : map.values())
            total += value;
        sum.addAndGet(mix(total + t));
    }

    public static void main(String[] args) throws Exception {
        int threads = Integer.parseInt(args[0]);
        long rounds = Long.parseLong(args[1]);
        Path go = Path.of(args[2]);
        CyclicBarrier barrier = new CyclicBarrier(threads + 1);
        for (int i = 0; i < threads; i++) {
            long t = i;
            Thread thread = new Thread(() -> {
                Map<String, Long> map = new HashMap<>();
                try {
                    for (long n = 0; !ended; n++) {
                        round(map, t, n);
                        barrier.await();
                        barrier.await();
                    }
                } catch (Exception e) {
                    e.printStackTrace();
                    System.exit(1);
                }
            });
            thread.start();
        }
        long all = 0;
        for (long n = 0; !ended; n++) {
            barrier.await();
            long round = sum.getAndSet(0);
            if (n < rounds)
                all = mix(all + round);
            if (n == 0)
                System.out.println("ready");
            ended = n >= rounds && Files.exists(go);
            barrier.await();
            if (n % 100 == 99)
                garbage = new int[200000];
        }
        System.out.println("sum " + Long.toHexString(all));
    }
}
