/* What MPI libraries tell differently: how the program was launched (MPI_INFO_ENV), and whose error handler has the errors of
 * requests and of a window that none was set for; and what they all do with attributes at the end. With "fatal" such an error is all that there is. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

static int noted;

static void note(MPI_Comm *comm, int *code, ...)
{
    MPI_Error_class(*code, &noted);
    printf("handler of %s\n", *comm == MPI_COMM_WORLD ? "MPI_COMM_WORLD" : "another");
}

static void launched(void)
{
    char key[MPI_MAX_INFO_KEY + 1], value[MPI_MAX_INFO_VAL + 1];
    int keys, flag;
    MPI_Info_get_nkeys(MPI_INFO_ENV, &keys);
    for (int i = 0; i < keys; i++) {
        MPI_Info_get_nthkey(MPI_INFO_ENV, i, key);
        MPI_Info_get(MPI_INFO_ENV, key, MPI_MAX_INFO_VAL, value, &flag);
        /* Open MPI 4.1 has no folder in a command, and keys of its own. */
        char *name = strrchr(value, '/');
        if (strncmp(key, "ompi_", 5) != 0)
            printf("%s: %s\n", key, strcmp(key, "command") == 0 && name ? name + 1 : value);
    }
}

static int on_delete(MPI_Comm comm, int key, void *value, void *extra)
{
    (void)key, (void)value, (void)extra;
    printf("deleted from %s\n", comm == MPI_COMM_WORLD ? "MPI_COMM_WORLD" : "MPI_COMM_SELF");
    return MPI_SUCCESS;
}

static const char *kind(int class)
{
    return class == MPI_ERR_TRUNCATE ? "truncated" : class == MPI_ERR_IN_STATUS ? "in status" : "another";
}

/* Receives with too little room, completed in each way: whose handler is called, and what each call gives. */
static void requests(MPI_Comm comm, int rank)
{
    enum { WAIT, TEST, WAITANY, TESTANY, TESTALL, WAITSOME, TESTSOME, WAITALL, ALL };
    int out[2] = {1, 2}, in, done, index, indices[1], class;
    MPI_Request r[1];
    MPI_Status s[1];
#ifdef OPEN_MPI
    int way = WAIT, ways = WAITALL; /* which would not end after a failure */
#else
    int way = WAITANY, ways = ALL; /* before it depends on when the message comes */
#endif
    for (; way < ways; way++) {
        int code = MPI_SUCCESS;
        if (rank == 1) {
            MPI_Send(out, 2, MPI_INT, 0, 0, comm);
            continue;
        }
        MPI_Irecv(&in, 1, MPI_INT, 1, 0, comm, &r[0]);
        for (done = 0; !done;) {
            noted = 0;
            switch (way) {
            case WAIT: code = MPI_Wait(r, s), done = 1; break;
            case TEST: code = MPI_Test(r, &done, s); break;
            case WAITANY: code = MPI_Waitany(1, r, &index, s), done = 1; break;
            case TESTANY: code = MPI_Testany(1, r, &index, &done, s); break;
            case TESTALL: code = MPI_Testall(1, r, &done, s); break;
            case WAITSOME: code = MPI_Waitsome(1, r, &done, indices, s); break;
            case TESTSOME: code = MPI_Testsome(1, r, &done, indices, s); break;
            case WAITALL: code = MPI_Waitall(1, r, s), done = 1; break;
            }
            done |= code != MPI_SUCCESS;
        }
        MPI_Error_class(code, &class);
        printf("way %d: %s, in the handler %s\n", way, kind(class), kind(noted));
    }
}

int main(int argc, char **argv)
{
    int rank, provided, key, word;
    MPI_Errhandler handler, of_window;
    MPI_Comm dup;
    MPI_Win win;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Win_create(&word, sizeof word, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    MPI_Comm_dup(MPI_COMM_WORLD, &dup);
    if (rank == 1)
        requests(dup, rank);
    if (rank == 0) {
        launched();
        MPI_Win_get_errhandler(win, &of_window);
        printf("a window's handler: %d\n", of_window == MPI_ERRORS_ARE_FATAL);
        fflush(stdout);
        MPI_Comm_create_errhandler(note, &handler);
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, handler);
        MPI_Comm_set_errhandler(dup, handler);
        requests(dup, rank);
        MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, MPI_COMM_NULL_DELETE_FN, &key, NULL);
#ifdef OPEN_MPI
        if (argc > 1 && strcmp(argv[1], "fatal") == 0)
#endif
        {
            MPI_Win_set_attr(win, key, NULL);
            printf("a communicator's key: %d\n", noted == MPI_ERR_KEYVAL);
            MPI_Put(&word, 1, MPI_INT, 1000, 0, 1, MPI_INT, win);
            printf("no such rank: %d\n", noted == MPI_ERR_RANK);
        }
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
        MPI_Errhandler_free(&handler);
        MPI_Comm_free_keyval(&key);
    }
    if (rank == 0) { /* deleted by MPI_Finalize */
        MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, on_delete, &key, NULL);
        MPI_Comm_set_attr(MPI_COMM_WORLD, key, NULL);
        MPI_Comm_set_attr(MPI_COMM_SELF, key, NULL);
    }
    MPI_Comm_free(&dup);
    MPI_Win_free(&win);
    MPI_Finalize();
    return 0;
}
